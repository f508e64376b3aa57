"""What every secure sum of a run is about, computed by each party from its own copy of manifest and roster.

Each message of a round asks for the same values; they are functions of frozen ones and are kept.
"""

from functools import lru_cache

from synthfed.federation.manifest import RunManifest
from synthfed.federation.policy import Policy
from synthfed.secagg.contexts import Context0, SumConfig
from synthfed.secagg.ring import scale_bits
from synthfed.secagg.roster import Roster


def check_roster(manifest: RunManifest, roster: Roster) -> None:
    """Refuse a run whose manifest names another roster or other sites than this one.

    Or whose noise is shared for more helpers of the server than this roster's threshold withstands.

    Raises:
        Refused: `roster`.
    """
    from synthfed.federation.refused import Refused

    if manifest.roster != roster.digest().hex() or manifest.sites != tuple(m.site for m in roster.members):
        raise Refused("roster")
    if (manifest.sums.helpers or 0) > colluders(roster):
        raise Refused("roster")


def colluders(roster: Roster) -> int:
    """c = min(2t - N - 1, N - 2): sites that may help a lying server without opening a single input."""
    sites = len(roster.members)
    return min(2 * roster.threshold - sites - 1, sites - 2)


def smallest_set(manifest: RunManifest, roster: Roster, policy: Policy | None = None) -> int:
    """Fewest sites whose sum is opened: all but `max_missing`, or all but what a site's policy allows.

    Never below m = max(t, 3), so at most floor((N-1)/3) sites may be missing, and with three sites none.
    """
    missing = manifest.sums.max_missing
    if policy is not None:
        missing = min(missing, policy.max_missing)
    return max(roster.smallest, len(roster.members) - missing)


@lru_cache(maxsize=256)
def sum_config(manifest: RunManifest, roster: Roster, round_index: int) -> SumConfig:
    """The public settings of one round's sum."""
    step, settings = manifest.step(round_index), manifest.sums
    shared = any(event.mechanism == "skellam" for event in step.events)
    return SumConfig(
        bounds=() if step.bound is None else (repr(step.bound),),
        scales=() if step.bound is None else (scale_bits(step.bound),),
        threshold=roster.threshold,
        smallest=smallest_set(manifest, roster),
        pipeline_digest=bytes.fromhex(manifest.subject_digest()),
        mode=settings.shares,
        ring=step.ring,
        verify=settings.verify,
        noise="shared" if shared else "local",
        transport=settings.transport,
        post_quantum=settings.post_quantum,
        aux=False,
    )


@lru_cache(maxsize=256)
def sum_context(manifest: RunManifest, roster: Roster, round_index: int, attempt: int) -> Context0:
    """The context of one round's sum: nothing in it is taken from the wire."""
    return Context0(
        run_id=bytes.fromhex(manifest.hash()),
        purpose=manifest.purpose,
        round_index=round_index,
        attempt=attempt,
        roster_digest=roster.digest(),
        config_digest=sum_config(manifest, roster, round_index).digest(),
        layout_digest=manifest.step(round_index).layout,
    )
