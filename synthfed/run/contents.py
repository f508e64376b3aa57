"""What lies in a dossier, and in which edition.

A cohort of simulated patients has nothing to hide: one report, marked simulated. For real patients the dossier's own
report holds no number computed from rows outside the accounted budget; everything measured against real rows goes to
`internal/`, which stays with the data holder and is not covered by the release's signature.
"""

import hashlib
import json
import platform
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import tomli_w

from synthfed.pipeline import Pipeline
from synthfed.resources import state_home
from synthfed.run.drawing import MODEL_METRICS, score_table
from synthfed.run.scoring import Scored, holdout_files, holdout_scores, with_holdout_scores
from synthfed.run.training import Trained, saved_model

if TYPE_CHECKING:
    from synthfed.cohorts.sites import Cohort
    from synthfed.evaluation.scorecard import Scorecard

Edition = Literal["simulated", "release", "internal"]

_LIBRARIES = ("torch", "opacus", "flwr", "pandas", "sdmetrics", "matplotlib", "pillow", "jinja2")  # these and zlib draw


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the report says about the run itself."""

    cohort: "Cohort"
    dictionary_file: Path
    seconds: float
    command: str | None = None  # what repeats the run; None where `synthfed run` does


def write_release(
    trained: Trained,
    table: pd.DataFrame,
    card: "Scorecard",
    facts: RunFacts,
    *,
    out: Path,
    replace: bool,
    scored: Scored | None = None,
) -> Path:
    """Assemble, sign and write the dossier; for real patients also `internal/`.

    Args:
        scored: What was counted of held-out patients. Of real ones it is all that the release says.

    Raises:
        DossierError: `out` exists and `replace` is false.
    """
    from synthfed.dossier import coordinator_key, write_dossier

    files = public_files(trained, table, facts)
    rules = facts.cohort.rules
    if scored is not None:
        files |= holdout_files(scored)
        card = with_holdout_scores(card, holdout_scores(scored, table, rules, deciding=False))
    key = coordinator_key(state_home())
    if facts.cohort.simulated:
        files |= report_files(trained, card, facts, files, edition="simulated")
        return write_dossier(out, files, key=key, replace=replace)
    of_model = [metric for metric in card.metrics if metric.id in MODEL_METRICS]
    outward = score_table(trained, table, rules, train=None, holdout=None, of_model=of_model)
    if scored is not None:
        outward = with_holdout_scores(outward, holdout_scores(scored, table, rules, deciding=True))
    inward = report_files(trained, card, facts, files, edition="internal")
    files |= report_files(trained, outward, facts, files, edition="release")
    internal = {f"internal/{name}": content for name, content in inward.items()}
    internal["internal/README.txt"] = _STAYS.encode()
    return write_dossier(out, files, key=key, replace=replace, unsigned=internal)


_STAYS = """Stays at the site.

The report in this folder was measured on patients' rows outside the privacy budget. It is for the data holder.
Send the dossier without this folder; its signature and checksums do not cover it.
"""


def public_files(trained: Trained, table: pd.DataFrame, facts: RunFacts) -> dict[str, bytes]:
    """Everything in a dossier but its report, by name."""
    from synthfed.generators.model_file import model_bytes
    from synthfed.tables.writing import to_csv_bytes, to_parquet_bytes

    return {
        "synthetic.csv": to_csv_bytes(table, trained.schema),
        "synthetic.parquet": to_parquet_bytes(table, trained.schema),
        "model.synthfed": model_bytes(saved_model(trained)),
        "ledger.json": json.dumps(trained.ledger, indent=1, sort_keys=True, ensure_ascii=False).encode(),
        "audit.jsonl": "".join(line.rstrip("\n") + "\n" for line in trained.audit).encode(),
        "audit_keys.json": json.dumps(dict(trained.audit_keys), indent=1).encode(),
        "pipeline.toml": pipeline_toml(trained.pipeline).encode(),
        "dictionary.toml": facts.dictionary_file.read_bytes(),
        "rules.toml": facts.dictionary_file.with_name("rules.toml").read_bytes(),
    }


def report_files(
    trained: Trained, card: "Scorecard", facts: RunFacts, files: dict[str, bytes], *, edition: Edition
) -> dict[str, bytes]:
    """The report in one edition, as data and in every form for people and catalogues."""
    from synthfed.report import build_report, render_views, report_bytes, validate_report
    from synthfed.run.engines import compare_engines

    report = build_report(
        pipeline=trained.pipeline,
        schema=trained.schema,
        scorecard=card,
        ledger=trained.ledger,
        run=_run_block(trained, facts, files, edition=edition),
        edition=edition,
        engines=compare_engines(trained, card, facts.cohort, real_rows=edition != "release"),
    )
    validate_report(report)
    return {"report.json": report_bytes(report), **render_views(report)}


def _run_block(trained: Trained, facts: RunFacts, files: dict[str, bytes], *, edition: Edition) -> dict[str, Any]:
    """Facts of the run; how many patients a site has is a count of rows and stays out of a release."""
    names = list(facts.cohort.sites)
    return {
        "created": datetime.now(UTC).replace(microsecond=0).isoformat(),
        "synthfed": version("synthfed"),
        "python": platform.python_version(),
        "libraries": {**{name: version(name) for name in _LIBRARIES}, "zlib": zlib.ZLIB_RUNTIME_VERSION},
        "sites": names if edition == "release" else dict(facts.cohort.counts),
        "simulated": facts.cohort.simulated,
        "origin": facts.cohort.origin,
        "seconds": round(facts.seconds, 1),
        "bytes_up": trained.bytes_up,
        "bytes_down": trained.bytes_down,
        "rounds": trained.rounds,
        "words": list(trained.words),
        "history": list(trained.history),
        "command": facts.command or "synthfed run pipeline.toml" + ("" if facts.cohort.simulated else " --data ..."),
        "rows": trained.pipeline.release.rows,
        "table_sha256": hashlib.sha256(files["synthetic.csv"]).hexdigest(),
        "model_sha256": hashlib.sha256(files["model.synthfed"]).hexdigest(),
        "files": [
            {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in sorted(files.items())
        ],
    }


def pipeline_toml(pipeline: Pipeline) -> str:
    """The effective settings, `--set` included, as a pipeline file that runs again."""
    note = "# The settings of this run, complete. Run them again with: synthfed run pipeline.toml\n\n"
    return note + tomli_w.dumps(pipeline.model_dump(mode="python", exclude_none=True))
