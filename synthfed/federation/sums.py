"""What every secure sum of a run is about, computed by each party from its own copy of manifest and roster."""

from synthfed.federation.manifest import Manifest
from synthfed.federation.policy import Policy
from synthfed.secagg.contexts import Context0, SumConfig, digest, layout_digest
from synthfed.secagg.ring import scale_bits
from synthfed.secagg.roster import Roster

PURPOSE = "train"


def check_roster(manifest: Manifest, roster: Roster) -> None:
    """Refuse a run whose manifest names another roster or other sites than this one.

    Raises:
        Refused: `roster`.
    """
    from synthfed.federation.refused import Refused

    if manifest.roster != roster.digest().hex() or manifest.sites != tuple(m.site for m in roster.members):
        raise Refused("roster")


def smallest_set(manifest: Manifest, roster: Roster, policy: Policy | None = None) -> int:
    """Fewest sites whose sum is opened: all but `federation.max_missing`, or all but what a site's policy allows.

    Never below m = max(t, 3), so at most floor((N-1)/3) sites may be missing, and with three sites none.
    """
    missing = manifest.parse_pipeline().federation.max_missing
    if policy is not None:
        missing = min(missing, policy.max_missing)
    return max(roster.smallest, len(roster.members) - missing)


def sum_config(manifest: Manifest, roster: Roster) -> SumConfig:
    """The public settings of every round's sum."""
    bound = manifest.parse_pipeline().federation.delta_bound
    return SumConfig(
        bounds=(repr(bound),),
        scales=(scale_bits(bound),),
        threshold=roster.threshold,
        smallest=smallest_set(manifest, roster),
        pipeline_digest=bytes.fromhex(manifest.pipeline_digest()),
        aux=False,
    )


def sum_context(manifest: Manifest, roster: Roster, round_index: int, attempt: int) -> Context0:
    """The context of one round's sum: nothing in it is taken from the wire."""
    layout = digest(
        layout_digest(manifest.tensors), bytes.fromhex(manifest.transformer), repr(manifest.layout).encode()
    )
    return Context0(
        run_id=bytes.fromhex(manifest.hash()),
        purpose=PURPOSE,
        round_index=round_index,
        attempt=attempt,
        roster_digest=roster.digest(),
        config_digest=sum_config(manifest, roster).digest(),
        layout_digest=layout,
    )
