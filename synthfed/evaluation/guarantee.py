"""What differential privacy promises, as a light: read from the ledger's statement, never from rows."""

import math
from collections.abc import Mapping
from typing import Any

from synthfed.evaluation.scorecard import Light, Metric
from synthfed.evaluation.thresholds import THRESHOLDS

_NO_GUARANTEE = "no formal guarantee"


def guarantee_metric(privacy: Mapping[str, Any]) -> Metric:
    """`guaranteed.epsilon`: the worst population's epsilon. Missing, infinite or not guaranteed is red.

    A simulated cohort under seeded noise is grey: no patient took part, so there is nothing to promise.

    Args:
        privacy: The ledger statement (`privacy.statement`): `populations` -> name -> `epsilon`, `delta`, and
            `guarantee` in words. It is taken as stated here; verifying a dossier computes it again.
    """
    rule = THRESHOLDS["guaranteed.epsilon"]
    epsilon, delta = _spent(privacy)
    words = str(privacy.get("guarantee", "")).strip()
    light: Light = "red"
    if privacy.get("simulated") is True and privacy.get("seeded") is True:
        # Nobody is behind the rows and the noise repeats on purpose: there is no promise to judge.
        light, reason = "grey", _simulated_reason(privacy)
    elif _NO_GUARANTEE in words.lower() or privacy.get("formal") is False:
        reason = words or _NO_GUARANTEE
    elif epsilon is None:
        reason = "no differential privacy statement: no formal guarantee"
    elif not math.isfinite(epsilon):
        reason = f"epsilon is not finite: {_NO_GUARANTEE}"
    elif not words:
        reason = f"the statement names no guarantee: {_NO_GUARANTEE}"
    elif delta is None or not 0 < delta < 1:
        reason = "the statement names no delta: it is incomplete"
    else:
        light = "green" if epsilon <= rule.green else "amber" if epsilon <= rule.amber else "red"
        reason = f"per patient, at delta = {delta:g}"
    return Metric(
        id="guaranteed.epsilon",
        question="guaranteed",
        role="deciding",
        label="epsilon, the most one patient can change what an attacker learns",
        value=epsilon if epsilon is not None and math.isfinite(epsilon) else None,
        direction="lower",
        green=rule.green,
        amber=rule.amber,
        threshold_origin=rule.origin,
        light=light,
        reason=reason,
    )


def _simulated_reason(privacy: Mapping[str, Any]) -> str:
    planned = privacy.get("populations", {}).get("train", {})
    cost, delta = _number(planned.get("epsilon_of_events")), _number(planned.get("delta"))
    reason = f"simulated patients under noise from a public seed: {_NO_GUARANTEE}, and nobody who needs one"
    if cost is None or not math.isfinite(cost) or delta is None:
        return reason
    return f"{reason}; with secret noise the same run costs a patient epsilon {cost:.2f} at delta = {delta:g}"


def _spent(privacy: Mapping[str, Any]) -> tuple[float | None, float | None]:
    populations = privacy.get("populations")
    if not isinstance(populations, Mapping) or not isinstance(populations.get("train"), Mapping):
        return None, None
    pairs = [
        (_number(p.get("epsilon")), _number(p.get("delta"))) for p in populations.values() if isinstance(p, Mapping)
    ]
    if any(epsilon is None or epsilon < 0 for epsilon, _ in pairs):
        return None, None
    return max(pairs, key=lambda pair: pair[0] or 0.0)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return None if math.isnan(number) else number
