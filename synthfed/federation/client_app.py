"""The ClientApp of a site: Flower's messages in, stored replies or a refusal's code out.

Handlers never raise: Flower would carry an exception's text to the coordinator verbatim, and the text may quote a
row. What goes wrong is written to the site's own `site.log` by class and code line, without its message, and the
reply is a code of the closed table in `wire`. Handlers of keys and shares load neither torch nor rows.

`build_client_app` takes what a site does with its rows, so the in-process run injects them; `app` reads them as a
deployed site does, from its node config (`site`, `site-dir`, `data`, `dictionary`).
"""

import datetime
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from synthfed.federation import pair_keys, records, stages, wire
from synthfed.federation.durable import append_private
from synthfed.federation.inquiry import Inquiry, InquiryWork
from synthfed.federation.manifest import Manifest, RunManifest, synthfed_version
from synthfed.federation.policy import Policy
from synthfed.federation.refused import Refused, next_step, refusal_of
from synthfed.federation.scoring import Scoring, ScoringWork
from synthfed.federation.simulated import is_simulated_site, simulated_place, simulated_rows
from synthfed.federation.site import LOG, Site, split_key
from synthfed.federation.training import SiteRows, TableRows, TrainingWork
from synthfed.federation.work import SiteWork
from synthfed.generators.base import Generator
from synthfed.secagg.questions import Table

if TYPE_CHECKING:
    from synthfed.cohorts.sites import Cohort
    from synthfed.evaluation.rows import Rows
    from synthfed.pipeline import CohortSettings

M = TypeVar("M")


def open_site(context: Context) -> AbstractContextManager[Site]:
    """Open the site that the node config names, or that a partition of Flower's simulation plays, for one message.

    Raises:
        Refused: `site`: the node config names no site folder.
    """
    if is_simulated_site(context):
        simulated, place = simulated_place(context)
        return Site(place, simulated)
    name, folder = context.node_config.get("site"), context.node_config.get("site-dir")
    if not (isinstance(name, str) and isinstance(folder, str) and Path(folder).is_dir()):
        raise Refused("site")
    return Site(Path(folder), name)


def generator_of(manifest: Manifest) -> Generator:
    """The generator that the manifest's pipeline names; loads torch."""
    from synthfed.generators.registry import make_generator

    return make_generator(manifest.parse_pipeline().generator)


def build_client_app(
    work_of: Callable[[Context, RunManifest], SiteWork],
    *,
    open_site: Callable[[Context], AbstractContextManager[Site]] = open_site,
) -> ClientApp:
    """Make a site's app.

    Args:
        work_of: What a site does with its rows in a run; called once per round.
        open_site: Opens a site for one message; an in-process run keeps sites open instead.
    """
    app = ClientApp()

    def answer(message: Message, context: Context, kind: type[M], work: Callable[[Site, M], Any]) -> Message:
        """Decode, work, encode; whatever goes wrong becomes a refusal's code."""
        try:
            request = records.from_record(message.content, kind)
            with open_site(context) as site:
                reply = work(site, request)
        except Exception as error:
            _note(context, error)
            reply = refusal_of(error)
        return Message(records.to_record(reply), reply_to=message)

    @app.query("enrol")
    def enrol(message: Message, context: Context) -> Message:
        def work(site: Site, request: wire.EnrolRequest) -> wire.EnrolReply:
            return stages.enrol(site, context.node_id, request, version=synthfed_version())

        return answer(message, context, wire.EnrolRequest, work)

    @app.train("round")
    def train_round(message: Message, context: Context) -> Message:
        def work(site: Site, request: wire.RoundRequest) -> wire.RoundReply:
            return stages.contribute(site, request, work_of=lambda manifest: work_of(context, manifest))

        return answer(message, context, wire.RoundRequest, work)

    def serve(action: str, kind: type[M], stage: Callable[[Site, M], Any]) -> None:
        """The stages that need nothing but the site and the request."""
        app.query(action)(lambda message, context: answer(message, context, kind, stage))

    serve("hello", wire.HelloRequest, stages.hello)
    serve("share", wire.ShareRequest, stages.share)
    serve("parts", wire.PartsRequest, stages.parts)
    serve("show", wire.ShowRequest, pair_keys.show)
    serve("offer", wire.OfferRequest, pair_keys.offer)
    serve("accept", wire.AcceptRequest, pair_keys.accept)
    serve("survivors", wire.SurvivorsRequest, stages.survivors)
    serve("unmask", wire.UnmaskRequest, stages.unmask)
    serve("close", wire.CloseRequest, stages.close)
    serve("settle", wire.SettleRequest, stages.settle)
    return app


def rows_from_node_config(context: Context, manifest: Manifest) -> SiteRows:
    """Read and check the training rows of the table that the site's node config names.

    Pipeline and encoder are those of the manifest that the site agreed to, not of the run config, which belongs to
    whoever submits. Held-out patients (a keyed hash of their id) are left out: no stint ever sees them.

    Raises:
        DataError: The table does not fit the dictionary.
        Refused: `data`: the node config names no table, or this site's dictionary gives another encoder.
    """
    from synthfed.generators.plan import run_coding

    pipeline = manifest.parse_pipeline()
    cohort = _cohort(context, pipeline.disease, pipeline.cohort, pipeline.cohort.holdout_fraction)
    coding = run_coding(pipeline, cohort.schema, sites=len(manifest.sites))
    if coding.template.digest() != manifest.transformer:
        raise Refused("data")
    (rows,) = cohort.sites.values()
    return TableRows(coding, rows)


def table_from_node_config(context: Context) -> Table:
    """Read and check the table that the site's node config names, as questions are filled from it: all its rows.

    The node config must name the dictionary, because a plan of questions carries bounds and levels but no disease.

    Raises:
        DataError: The table does not fit the dictionary.
        Refused: `data`: the node config names no table or no dictionary.
    """
    from synthfed.tables.arrays import site_rows

    dictionary = str(context.node_config.get("dictionary", ""))
    if not dictionary:
        raise Refused("data")
    cohort = _cohort(context, dictionary, None, 0.0)
    (rows,) = cohort.sites.values()
    return site_rows([rows], cohort.schema)


def holdout_from_node_config(context: Context, manifest: Scoring) -> "Rows":
    """Read and check the held-out patients of the table that the site's node config names, as the plan counts them.

    Raises:
        DataError: The table does not fit the dictionary.
        ValueError: The dictionary here lacks a rule or column of the plan.
        Refused: `data`: the node config names no table.
    """
    from synthfed.evaluation.counted.count import rows_for

    pipeline = manifest.parse_pipeline()
    cohort = _cohort(context, pipeline.disease, pipeline.cohort, manifest.holdout_fraction)
    (rows,) = cohort.holdouts.values()
    return rows_for(manifest.plan(), rows, cohort.schema, cohort.rules)


def _cohort(context: Context, disease: str, chosen: "CohortSettings | None", holdout_fraction: float) -> "Cohort":
    from synthfed.cohorts.sites import read_cohort

    name, data = str(context.node_config["site"]), str(context.node_config.get("data", ""))
    if not data:
        raise Refused("data")
    folder = Path(str(context.node_config["site-dir"]))
    cohort = read_cohort(
        {name: Path(data)},
        dictionary=str(context.node_config.get("dictionary", disease)),
        columns=None if chosen is None else chosen.columns,
        on_violation="missing" if chosen is None else chosen.on_violation,
        holdout_fraction=holdout_fraction,
        split_key=split_key(folder),
    )
    if len(cohort.sites[name]) < Policy.load(folder / "policy.toml").min_rows:
        raise Refused("data", noted="policy.min_rows")
    return cohort


def _note(context: Context, error: Exception) -> None:
    """Write class and place of an error to the site's log: never its text, which may quote a row."""
    folder = Path(str(context.node_config.get("site-dir", "")))
    if not folder.is_absolute() or not folder.is_dir():
        return
    frames = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    chain = type(error).__name__ + (f" from {type(error.__cause__).__name__}" if error.__cause__ else "")
    code = error.noted if isinstance(error, Refused) else refusal_of(error).code
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    append_private(folder / LOG, f"{now} {chain} ({code}) at {' > '.join(frames)}; next: {next_step(code)}")


def work_from_node_config(context: Context, manifest: RunManifest) -> SiteWork:
    """What a site does in a run of any kind, with the table that its node config names; or simulated training."""
    if isinstance(manifest, Manifest):
        read = simulated_rows if is_simulated_site(context) else rows_from_node_config
        return TrainingWork(manifest, lambda asked: read(context, asked), generator_of)
    if isinstance(manifest, Inquiry) and not is_simulated_site(context):
        return InquiryWork(manifest, table_from_node_config(context))
    if isinstance(manifest, Scoring) and not is_simulated_site(context):
        return ScoringWork(manifest, lambda asked: holdout_from_node_config(context, asked))
    raise Refused("manifest")


app = build_client_app(work_from_node_config)
