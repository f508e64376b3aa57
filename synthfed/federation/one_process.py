"""The deployed apps of coordinator and sites against each other in this process, with `LocalGrid` between them."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid

from synthfed.federation.checkpoints import Checkpoints
from synthfed.federation.client_app import build_client_app, open_site
from synthfed.federation.local_grid import LocalGrid
from synthfed.federation.manifest import RunManifest
from synthfed.federation.progress import RoundDone
from synthfed.federation.rounds import Coordinator, Outcome
from synthfed.federation.server_app import build_server_app
from synthfed.federation.site import Site
from synthfed.federation.work import Course, SiteWork
from synthfed.secagg.roster import Roster


@dataclass(frozen=True, slots=True)
class Wiretap:
    """How tests look into, and disturb, the in-process carrier; see `LocalGrid`."""

    serialise: bool = False
    faults: Callable[[Message], None] | None = None
    on_message: Callable[[Message, bytes], None] | None = None
    poll_s: float = 0.05


def carry(
    manifest: RunManifest,
    relay: Ed25519PrivateKey,
    roster: Roster,
    course: Course,
    work_at: Callable[[str], SiteWork],
    *,
    homes: Mapping[str, Path],
    work: Path,
    deadline_s: float,
    progress: Callable[[RoundDone], None] | None,
    workers: int,
    tap: Wiretap,
) -> Outcome:
    """Run the deployed apps against each other, from enrolment or the newest checkpoint to the closed run.

    Args:
        work_at: What a site, by roster id, does with its rows.
        homes: The sites' folders.
    """
    open_sites = _OpenSites()
    client_app = build_client_app(
        lambda context, _: work_at(str(context.node_config["site"])),
        open_site=open_sites if workers == 1 else open_site,  # a sqlite connection stays in its thread
    )
    outcomes: list[Outcome] = []

    def prepare(_: Grid, __: Context) -> Coordinator:
        return Coordinator(
            manifest=manifest,
            relay=relay,
            roster=roster,
            course=course,
            deadline_s=deadline_s,
            checkpoints=Checkpoints(work / "coordinator" / manifest.hash()),
            progress=progress,
            poll_s=tap.poll_s,
        )

    server_app = build_server_app(prepare, lambda _, outcome: outcomes.append(outcome))
    nodes = {
        100 + member.index: {"site": member.site, "site-dir": str(homes[member.site].absolute())}
        for member in roster.members
    }
    grid = LocalGrid(
        client_app, nodes, workers=workers, serialise=tap.serialise, faults=tap.faults, on_message=tap.on_message
    )
    with open_sites, grid.as_server():
        server_app(grid, Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={}))
    (outcome,) = outcomes
    return outcome


class _OpenSites:
    """Keeps sites open between messages: opening one checks its whole ledger."""

    def __init__(self) -> None:
        self._sites: dict[str, Site] = {}

    def __call__(self, context: Context) -> AbstractContextManager[Site]:
        name = str(context.node_config["site"])
        if name not in self._sites:
            self._sites[name] = Site(Path(str(context.node_config["site-dir"])), name)
        return nullcontext(self._sites[name])

    def __enter__(self) -> "_OpenSites":
        return self

    def __exit__(self, *_: object) -> None:
        for site in self._sites.values():
            site.shut()
        self._sites.clear()
