"""What of a report follows from the rest of it: lights, verdict, limits, the privacy statement in words.

A verifier calls `derived` with the facts of a `report.json` and with the files beside it, and must get what stands
there: whoever changes a light, a sentence or an epsilon contradicts the numbers it came from.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from synthfed.evaluation.scorecard import QUESTIONS, Metric, Scorecard
from synthfed.pipeline import Pipeline
from synthfed.report.guarantee import guarantee
from synthfed.report.making import making
from synthfed.report.verdict import QUESTION_TEXT, because, capital, verdict
from synthfed.tables.schema import Column, Schema


def derived(
    facts: Mapping[str, Any], *, pipeline: Pipeline, schema: Schema, ledger: Mapping[str, Any]
) -> dict[str, Any]:
    """The blocks of `report.json` that say nothing new.

    Args:
        facts: The other blocks: `edition`, `simulated`, `scored_rows` and `metrics` are looked at.
        schema: The columns of the pipeline.
        ledger: The release's ledger statement.
    """
    edition, metrics = facts["edition"], facts["metrics"]
    privacy = privacy_block(ledger, simulated=facts["simulated"])
    lights = lights_of(metrics, edition=edition)
    return {
        "disease": pipeline.disease,
        "title": pipeline.title,
        "columns": len(schema.columns),
        "fields": [_field(column) for column in schema.columns],
        "pipeline": {
            "name": pipeline.disease,
            "sha256": pipeline.digest(),
            "generator": pipeline.generator.kind,
            "settings": json.loads(pipeline.canonical()),
        },
        "seeds": {"pipeline": pipeline.seed, "sampling": pipeline.release.seed},
        "made": making(pipeline, privacy["events"], ledger["mode"]),
        "verdict": verdict(lights, metrics, edition=edition, holdout=facts["scored_rows"].get("holdout")),
        "lights": lights,
        "privacy": {**privacy, "audit": _audit(metrics)},
        "limits": _limits(metrics, lights, simulated=facts["simulated"]),
    }


def privacy_block(ledger: Mapping[str, Any], *, simulated: bool) -> dict[str, Any]:
    """The ledger's statement, and what the page says about it."""
    return {"statement": dict(ledger), **guarantee(ledger, simulated=simulated)}


def lights_of(metrics: Sequence[Mapping[str, Any]], *, edition: str) -> dict[str, dict[str, Any]]:
    """Each question's light, from the lights of its metrics."""
    lights: dict[str, dict[str, Any]] = {}
    card = Scorecard(tuple(map(_metric, metrics)))
    for question in QUESTIONS:
        answer = card.answer(question)
        lead = next((m for m in metrics if answer.leading is not None and m["id"] == answer.leading.id), None)
        lights[question] = {
            "question": QUESTION_TEXT[question],
            "light": answer.light,
            "word": answer.word,
            "leading_metric": lead["id"] if lead else None,
            "leading_label": lead["label"] if lead else None,
            "because": because(lead, edition=edition),
        }
    return lights


def _audit(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What an attack on the noise itself showed of epsilon; `run` is false where none was tried."""
    found = next((metric for metric in metrics if metric["id"] == "private.audit"), None)
    if found is None:
        return {"run": False, "lower_bound": None, "said": "No audit of epsilon with canaries was run."}
    return {"run": True, "lower_bound": found["value"], "said": capital(found["reason"])}


def _metric(entry: Mapping[str, Any]) -> Metric:
    """As much of a metric as decides about a light."""
    keys = ("id", "question", "role", "label", "value", "direction", "light", "reason")
    return Metric(**{key: entry[key] for key in keys})


def _field(column: Column) -> dict[str, Any]:
    """A column as catalogues name it; all of it is public by declaration."""
    return {
        "name": column.name,
        "label": column.label,
        "kind": column.kind,
        "unit": column.unit,
        "lower": column.lower,
        "upper": column.upper,
        "decimals": column.decimals,
        "levels": list(column.levels),
        "missing": column.missing,
        "group": column.group,
        "sensitive": column.sensitive,
        "code": column.code,
    }


def _limits(
    metrics: Sequence[Mapping[str, Any]], lights: Mapping[str, Mapping[str, Any]], *, simulated: bool
) -> list[str]:
    limits = [
        f"Not measurable: {m['label']} ({m['reason']})"
        for m in metrics
        if m["status"] == "not_measurable" and m["role"] != "info"
    ]
    limits += [
        f"{question.capitalize()}: {light['because']}."
        for question, light in lights.items()
        if light["leading_metric"] is None
    ]
    if simulated:
        limits.append("The patients are simulated from published facts. Scores on real patients will differ.")
    limits += [
        "An attack that found nothing is not a proof; only the differential privacy statement bounds attacks not run.",
        "Rare groups suffer first: DP noise hides what few patients have, on purpose.",
        "Confidence intervals computed from the synthetic table alone are too narrow.",
    ]
    return limits
