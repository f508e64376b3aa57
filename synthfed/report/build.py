"""`report.json`: everything a release says about itself, in one canonical dictionary.

`build_report` joins the scorecard and the run facts with what follows from them (`derived`), and enforces the edition:
a release edition that holds a number computed from patients' rows is refused, unless held-out patients paid for it.
"""

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, NotRequired, TypedDict

from synthfed.errors import PrivacyError
from synthfed.evaluation.scorecard import WORDS, Metric, Scorecard
from synthfed.pipeline import Pipeline
from synthfed.report.derived import derived, privacy_block
from synthfed.report.guarantee import against_all_others
from synthfed.report.making import secure_sums
from synthfed.report.verdict import capital
from synthfed.tables.schema import Schema

Edition = Literal["internal", "release", "simulated"]
SCHEMA_ID = "synthfed.report/1"


class RunBlock(TypedDict):
    """What a run says about itself; public, or (row counts of sites) shown only where the edition allows.

    Attributes:
        created: UTC time, ISO 8601. Fixed by the caller, so that a report can be built twice to the same bytes.
        synthfed: The package's version.
        sites: Site names, or site name -> training rows where they may be shown.
        origin: Where the patients came from, for people.
        rows: Rows of the synthetic table.
        files: What lies beside the report, each with `name`, `bytes` and `sha256`.
        words: Sentences on secure aggregation, from the federation.
        history: One mapping per round: `round`, `stage`, `epsilon`, `bytes`, `update_norm` (None where the round
            counted), `seconds`.
        command: What repeats the run, as typed.
        libraries: Versions of what the run depends on.
    """

    created: str
    synthfed: str
    sites: Sequence[str] | Mapping[str, int | None]
    simulated: bool
    origin: str
    rows: int
    table_sha256: NotRequired[str]
    model_sha256: NotRequired[str]
    seconds: NotRequired[float]
    bytes_up: NotRequired[int]
    bytes_down: NotRequired[int]
    rounds: NotRequired[int]
    words: NotRequired[Sequence[str]]
    history: NotRequired[Sequence[Mapping[str, Any]]]
    command: NotRequired[str]
    python: NotRequired[str]
    libraries: NotRequired[Mapping[str, str]]
    files: NotRequired[Sequence[Mapping[str, Any]]]


def build_report(
    *,
    pipeline: Pipeline,
    schema: Schema,
    scorecard: Scorecard,
    ledger: Mapping[str, Any],
    run: RunBlock | Mapping[str, Any],
    edition: Edition,
    engines: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Join what is known about a release into the dictionary that becomes `report.json`.

    Args:
        schema: The columns of the pipeline, for labels, units and groups.
        ledger: The release's ledger statement (`privacy.statement.release_ledger`).
        edition: `internal` compares with patients and stays at the site; `release` holds no number computed from
            patients' rows but those that the ledger's population `holdout` paid for; `simulated` shows everything,
            because no patient exists.
        engines: The network beside the tree that it started from (`engines.engines_block`), where there are both.

    Raises:
        PrivacyError: A release edition would hold a number from patients' rows, or a run on patients is called
            simulated. Nothing is written.
    """
    simulated = bool(run["simulated"])
    if edition == "simulated" and not simulated:
        raise PrivacyError(
            "edition 'simulated' was asked for a run on patients; use 'internal' (stays at the site) or 'release'"
        )
    privacy = privacy_block(ledger, simulated=simulated)
    metrics = metric_entries(scorecard, privacy)
    figures = _figures(scorecard.figures, schema)
    if edition == "release":
        _refuse_real_rows(metrics, figures, ledger, engines)
    facts = {  # rounded first: what follows from them must follow for a reader of report.json, too
        "schema": SCHEMA_ID,
        "edition": edition,
        "simulated": simulated,
        "created": run["created"],
        "origin": run["origin"],
        "rows": run["rows"],
        "scored_rows": dict(scorecard.rows),
        "table_sha256": run.get("table_sha256"),
        "model_sha256": run.get("model_sha256"),
        "files": [dict(file) for file in run.get("files", ())],
        "software": {"synthfed": run["synthfed"], **_versions(run)},
        "sites": _sites(run["sites"], edition),
        "run": {
            "seconds": run.get("seconds"),
            "bytes": _traffic(run),
            "rounds": run.get("rounds"),
            "words": list(run.get("words", ())),
            "history": [dict(row) for row in run.get("history", ())],
            "command": run.get("command") or f"synthfed run {pipeline.disease}",
            "secure_sums": secure_sums(pipeline, len(run["sites"])),
        },
        "engines": engines,
        "metrics": metrics,
        "figures": figures,
    }
    facts = dict(canonical(facts))
    return {**facts, **canonical(derived(facts, pipeline=pipeline, schema=schema, ledger=ledger))}


def metric_entries(scorecard: Scorecard, privacy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The scorecard's metrics as `report.json` holds them.

    Args:
        privacy: What `derived.privacy_block` returned.
    """
    return [_as_stated(metric_entry(metric), privacy) for metric in scorecard.metrics]


def metric_entry(metric: Metric) -> dict[str, Any]:
    """One metric as `report.json` holds it; a missing value always has a reason."""
    measured = metric.value is not None
    return {
        "id": metric.id,
        "question": metric.question,
        "role": metric.role,
        "label": capital(metric.label),
        "value": metric.value,
        "interval": {"low": metric.value_low, "high": metric.value_high},
        "direction": metric.direction,
        "anchored": metric.anchored,
        "ceiling": {"value": metric.ceiling, "low": metric.low, "high": metric.high},
        "floor": {"value": metric.floor},
        "thresholds": {"green": metric.green, "amber": metric.amber, "origin": metric.threshold_origin},
        "light": metric.light,
        "word": WORDS[metric.light],
        "status": "measured" if measured else "not_measurable",
        "reason": metric.reason or ("" if measured else "not measured"),
        "n": dict(metric.n or {}),
        "rows_used": metric.rows_used,
        "releasable": _releasable(metric),
        "cost": metric.cost and asdict(metric.cost),
    }


def _releasable(metric: Metric) -> str:
    if metric.rows_used == "none":
        return "yes"
    if metric.cost is None:
        return "no"
    return "summed" if math.isinf(metric.cost.epsilon) else "noisy"


def _as_stated(entry: dict[str, Any], privacy: Mapping[str, Any]) -> dict[str, Any]:
    """Epsilon with what the statement adds: the one that holds against all other sites, and what it lacks.

    An incomplete statement promises nothing that a reader could check, so its light is red.
    """
    if entry["id"] != "guaranteed.epsilon":
        return entry
    if other := against_all_others(privacy):
        entry = {**entry, "reason": f"{entry['reason']}; {other}"}
    if missing := privacy["missing"]:
        lacks = f"{entry['reason']}; the privacy statement is incomplete: it lacks {', '.join(missing)}"
        entry = {**entry, "light": "red", "word": WORDS["red"], "reason": lacks}
    return entry


def report_bytes(report: Mapping[str, Any]) -> bytes:
    """The bytes of `report.json`: sorted keys, two spaces, one newline at the end; the same report, the same bytes."""
    text = json.dumps(canonical(report), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def canonical(value: Any) -> Any:
    """Plain JSON values: numbers with 6 significant digits, NaN as null, infinity as the text "inf"."""
    if isinstance(value, Mapping):
        return {str(key): canonical(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [canonical(entry) for entry in value]
    if isinstance(value, bool) or value is None or isinstance(value, (str, int)):
        return value
    number = float(value)  # also numpy's scalars
    if math.isnan(number):
        return None
    if math.isinf(number):
        return "inf" if number > 0 else "-inf"
    rounded = float(f"{number:.6g}")
    return int(rounded) if not isinstance(value, float) and rounded.is_integer() else rounded


def _versions(run: Mapping[str, Any]) -> dict[str, str]:
    return {"python": run.get("python") or platform.python_version(), **run.get("libraries", {})}


def _traffic(run: Mapping[str, Any]) -> int | None:
    ways = [run[key] for key in ("bytes_up", "bytes_down") if run.get(key) is not None]
    return sum(ways) if ways else None


def _sites(sites: Sequence[str] | Mapping[str, int | None], edition: Edition) -> list[dict[str, Any]]:
    counts = sites if isinstance(sites, Mapping) else dict.fromkeys(sites)
    shown = edition != "release"
    return [{"id": name, "role": "training site", "rows": rows if shown else None} for name, rows in counts.items()]


def _figures(figures: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """The scorecard's figures, with the dictionary's words for groups of columns and groups of patients."""
    out = {key: figures.get(key) for key in ("marginals", "associations", "survival", "membership", "risks", "anchors")}
    out |= {key: figures.get(key) for key in ("counted", "benefit")}
    for key in ("risks", "anchors"):
        out[key] = [{**row, "label": capital(row["label"])} for row in out[key] or ()]
    out["survival"] = [
        {**curve, "group_label": _group_label(curve["group"], schema)} for curve in out["survival"] or ()
    ]
    if out["associations"]:
        names = out["associations"]["columns"]
        groups = [schema[name].group if name in schema else "" for name in names]
        out["associations"] = {**out["associations"], "groups": groups}
    return out


def _group_label(group: str, schema: Schema) -> str:
    """`eln2022=adverse` as "ELN 2022 risk: adverse"."""
    name, equals, level = group.partition("=")
    if not equals:
        return "all patients" if group == "all" else group
    label = schema[name].label if name in schema and schema[name].label else name.replace("_", " ")
    words = {"0": "no", "1": "yes"}.get(level, level) if name in schema and schema[name].kind == "flag" else level
    return f"{label}: {words.replace('_', ' ')}"


def _refuse_real_rows(
    metrics: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Any],
    ledger: Mapping[str, Any],
    engines: Mapping[str, Any] | None,
) -> None:
    found = [m["id"] for m in metrics if m["rows_used"] != "none" and _numbers(m) and not _paid(m, ledger)]
    if figures["counted"] is not None and not any(_paid(m, ledger) for m in metrics):
        found.append("figures.counted")
    found += [f"figures.marginals.{p['column']}" for p in figures["marginals"] or () if p["real"] is not None]
    found += [f"figures.survival.{p['name']}.{p['group']}" for p in figures["survival"] or () if p["real"] is not None]
    if figures["associations"] and figures["associations"]["real"] is not None:
        found.append("figures.associations")
    if figures["benefit"]:
        found.append("figures.benefit")
    if figures["membership"] is not None:
        found.append("figures.membership")
    paid_for = {m["id"] for m in metrics if m["rows_used"] == "none" or _paid(m, ledger)}
    for key in ("risks", "anchors"):
        found += [f"figures.{key}.{r['id']}" for r in figures[key] or () if r["id"] not in paid_for and _numbers(r)]
    found += [f"engines.{row['id']}" for row in (engines or {"scores": ()})["scores"]]
    if found:
        raise PrivacyError(
            f"a release edition may not hold numbers computed from patients' rows, found {', '.join(found[:8])}"
            f"{' and more' if len(found) > 8 else ''}; score the release with train=None and holdout=None"
        )


def _paid(entry: Mapping[str, Any], ledger: Mapping[str, Any]) -> bool:
    """Whether the sites' ledgers hold the very charge that a number names, to their held-out patients; or, of exact
    sums, whether the statement says that they left."""
    cost = entry["cost"]
    if entry["rows_used"] != "holdout" or cost is None:
        return False
    if math.isinf(cost["epsilon"]):
        return bool(ledger.get("exact_sums"))
    charged = [e for e in ledger["events"] if e["population"] == "holdout" and e["purpose"] == cost["ledger_event"]]
    costs = [float(event["cost"]["epsilon_alone"]) for event in charged]
    return any(math.isclose(cost["epsilon"], found, rel_tol=1e-6) for found in costs)


def _numbers(entry: Mapping[str, Any]) -> bool:
    flat = [entry.get(key) for key in ("value", "interval", "anchored", "low", "high", "ceiling", "floor")]
    flat += [part for value in flat if isinstance(value, Mapping) for part in value.values()]
    return any(isinstance(value, (int, float)) for value in flat)
