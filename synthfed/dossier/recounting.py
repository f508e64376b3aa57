"""Scores the table against held-out patients again, from the noisy counts that the sites opened, and compares.

Post-processing of what the dossier holds: whoever changes a score, its ceiling or its light contradicts the counts;
whoever changes the counts' noise contradicts the charge in the ledger.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from synthfed.dossier.basis import Basis
from synthfed.dossier.findings import Finding

COUNTS = "holdout_counts.json"
_SCORES = "counted."
_SIX_DIGITS = 1e-5  # relative: the file keeps six significant digits


def check_counts(
    report: Mapping[str, Any], basis: Basis, files: Mapping[str, bytes], ledger: Mapping[str, Any]
) -> tuple[tuple[str, ...], list[Finding]]:
    """What was computed again, in sentences, and where it contradicts the report; nothing without counts.

    Args:
        report: It must follow the published schema.
    """
    told = [metric for metric in report["metrics"] if metric["id"].startswith(_SCORES)]
    noisy = [metric for metric in told if metric["releasable"] == "noisy"]
    if COUNTS not in files:
        lost = [Finding("missing", COUNTS, f"{len(noisy)} scores in report.json rest on it")] if noisy else []
        return (), lost
    try:
        findings = [Finding("report", "report.json", note) for note in _against_counts(told, report, basis, files)]
        findings += [Finding("ledger", COUNTS, note) for note in _against_charge(basis, files, ledger)]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        return (), [Finding("report", COUNTS, f"cannot be scored again: {type(error).__name__}: {error}")]
    said = f"{len(told)} scores of held-out patients computed again from the sites' noisy counts"
    return ((said,) if not findings else ()), findings


def _against_counts(
    told: list[Mapping[str, Any]], report: Mapping[str, Any], basis: Basis, files: Mapping[str, bytes]
) -> Iterator[str]:
    from synthfed.evaluation.counted.count import rows_for
    from synthfed.evaluation.counted.plan import plan
    from synthfed.evaluation.counted.score import Counted, score
    from synthfed.evaluation.counted.tables import CountPlan
    from synthfed.evaluation.rows import Shape, coerced, read_rows
    from synthfed.evaluation.scorecard import Cost
    from synthfed.report.build import canonical, metric_entry

    body = json.loads(files[COUNTS])
    counted = CountPlan.from_json(json.dumps(body["plan"], sort_keys=True, separators=(",", ":")))
    typed = coerced(basis.table, basis.schema)
    if plan(read_rows(typed, Shape.of(basis.schema)), basis.schema, basis.pipeline.evaluation, basis.rules) != counted:
        yield f"{COUNTS} holds another plan than the one that follows from the table"
        return
    scores = score(
        Counted(counted, np.array(body["counts"], dtype=np.float64), np.array(body["stddevs"], dtype=np.float64)),
        rows_for(counted, typed, basis.schema, basis.rules),
        basis.schema,
        seed=basis.pipeline.seed,
        cost=Cost(float(body["epsilon"]), float(body["delta"]), told[0]["cost"]["ledger_event"] if told else ""),
        deciding=report["edition"] == "release",
    )
    stated = {metric["id"]: metric for metric in told}
    again = {entry["id"]: entry for entry in canonical([metric_entry(metric) for metric in scores.metrics])}
    for name in sorted(set(stated) | set(again)):
        if name not in stated or name not in again:
            yield f"{name} is {'left out' if name in again else 'no score of these counts'}"
        elif different := [key for key in again[name] if not _near(stated[name].get(key), again[name][key])]:
            key = different[0]
            yield f"{name}: {key} computed again is {again[name][key]}; report.json says {stated[name].get(key)}"


def _against_charge(basis: Basis, files: Mapping[str, bytes], ledger: Mapping[str, Any]) -> Iterator[str]:
    """The noise that the scores allow for is the one that was paid for."""
    from synthfed.evaluation.counted.tables import CountPlan

    body = json.loads(files[COUNTS])
    counted = CountPlan.from_json(json.dumps(body["plan"], sort_keys=True, separators=(",", ":")))
    charged = [event for event in ledger["events"] if event["population"] == "holdout"]
    if len(charged) != 1 or not charged[0]["noise_multiplier"] > 0:
        yield f"rests on one charge to held-out patients; ledger.json holds {len(charged)}"
        return
    own, sites = counted.stddevs(1 / charged[0]["noise_multiplier"]), len(charged[0]["ids"])
    lost = basis.pipeline.federation.max_missing  # a site may have paid and yet be missing from the sum
    wanted = [np.sqrt(count * (own**2 + 1 / 12)) for count in range(max(sites - lost, 1), sites + 1)]
    stated = np.array(body["stddevs"], dtype=np.float64)
    if not any(np.allclose(stated, noise, rtol=_SIX_DIGITS) for noise in wanted):
        yield "states other noise than its charge in ledger.json bought"


def _near(stated: Any, again: Any) -> bool:
    if isinstance(again, Mapping):
        return isinstance(stated, Mapping) and all(_near(stated.get(key), again[key]) for key in again)
    if isinstance(again, bool) or not isinstance(again, int | float):
        return bool(stated == again)
    if not isinstance(stated, int | float) or isinstance(stated, bool):
        return False
    return math.isclose(stated, again, rel_tol=1e-4, abs_tol=1e-6)  # another processor may round the last digit
