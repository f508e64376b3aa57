"""The first screen in words: one verdict sentence from a closed list, and what may and may not be done.

The sentence follows from the lights and nothing else, so that two readers of one `report.json` get the same verdict.
It never gives a legal conclusion: whether a table still holds personal data depends on who receives it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

QUESTION_TEXT: Mapping[str, str] = {
    "valid": "Is every record possible?",
    "faithful": "Does the table look like the patients?",
    "useful": "Do analyses give the same answers?",
    "private": "Did it withstand the attacks that were run?",
    "guaranteed": "What does differential privacy promise?",
}
_USES: Mapping[str, str] = {
    "valid": "analyses that trust single records",
    "faithful": "describing the patients",
    "useful": "prediction or survival analysis",
}


def capital(words: str) -> str:
    """Words as the beginning of a line."""
    return words[:1].upper() + words[1:]


def number(value: float | Literal["inf", "-inf"] | None) -> str:
    """A number for people: at most three significant digits, no scientific notation where it can be avoided."""
    if value is None:
        return "–"
    value = float(value)  # report.json writes infinity as text
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size >= 100:
        text = f"{size:,.0f}"
    elif size >= 0.01 or size == 0:
        text = f"{size:.3g}"
    elif size >= 0.0001:
        text = f"{size:.4f}".rstrip("0")
    else:
        text = f"{size:.0e}".replace("e-0", "e-")
    return f"−{text}" if value < 0 else text


def because(metric: Mapping[str, Any] | None, *, edition: str) -> str:
    """Why a light has its colour, in one clause."""
    if metric is None:
        return "needs patients' rows, which stay at the sites" if edition == "release" else "no score of it was run"
    promise = metric["question"] == "guaranteed"  # epsilon never without its delta, which the reason names
    if metric["value"] is None:
        return capital(metric["reason"]) if promise else f"{metric['label']}: {metric['reason']}"
    value = number(metric["value"])
    text = f"Epsilon {value} {metric['reason']}" if promise else f"{metric['label']}: {value}"
    wanted = metric["thresholds"]["green"]
    hidden = metric["light"] == "grey" and metric["reason"]  # measured, and yet nothing can be said: that is why
    if wanted is not None and metric["light"] != "green" and not hidden:
        text += f", wanted {'at least' if metric['direction'] == 'higher' else 'at most'} {number(wanted)}"
    elif metric["light"] != "green" and metric["reason"] and not promise:
        text += f" ({metric['reason']})"
    return text


def verdict(
    lights: Mapping[str, Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]], *, edition: str, holdout: int | None
) -> dict[str, Any]:
    """The verdict of a release: `code`, `sentence`, `qualifier`, `may`, `may_not`."""
    red = [question for question, light in lights.items() if light["light"] == "red"]
    grey = [question for question, light in lights.items() if light["light"] == "grey"]
    if edition == "simulated" and lights["guaranteed"]["light"] == "grey":
        grey.remove("guaranteed")  # nobody took part: the qualifier says so
    blocking = next((q for q in ("private", "guaranteed") if q in red), None)
    if blocking:
        code, sentence = "not_for_release", f"Not for release: {_reason(lights[blocking])}."
    elif red:
        code, sentence = "not_fit", f"Not fit for {', nor for '.join(_USES[question] for question in red)}."
    elif grey:
        code, sentence = "not_shown", _not_shown(grey, lights, edition, holdout)
    else:
        code, sentence = "may_be_considered", "May be considered for controlled release."
    may, may_not = _uses(lights, edition, code)
    return {
        "code": code,
        "sentence": sentence,
        "qualifier": _qualifier(edition, exact=any(m["releasable"] == "summed" for m in metrics)),
        "may": may,
        "may_not": may_not,
    }


def _reason(light: Mapping[str, Any]) -> str:
    """The reason as part of the headline; the rest of a missing guarantee's explanation is said below it."""
    words = str(light["because"]).rstrip(".")
    return "no formal guarantee" if words.lower().startswith("no formal guarantee") else words


def _not_shown(grey: Sequence[str], lights: Mapping[str, Mapping[str, Any]], edition: str, holdout: int | None) -> str:
    names = ", ".join(grey)
    if edition == "release":
        return f"Not shown in this edition: {names}."
    if holdout is not None:
        what = lights[grey[0]]["leading_label"] or grey[0]
        return f"Not shown: {what} cannot be measured with {holdout} hold-out patients."
    return f"Not shown: {names} could not be measured."


def _qualifier(edition: str, *, exact: bool) -> str:
    if edition == "release" and exact:
        return (
            "Scores that compare with training patients' rows stay with the data holder's internal edition. Scores of "
            "held-out patients follow from exact sums over all sites, which are outside the privacy guarantee."
        )
    return {
        "simulated": "All patients are simulated: no person stands behind this table or its scores. "
        "The page shows how the method behaves, not what a hospital may release.",
        "internal": "This page compares with patients of this site. It stays at the site.",
        "release": "Scores that compare with patients' rows stay with the data holder's internal edition. "
        "This page holds no number computed from those rows outside the privacy guarantee.",
    }[edition]


def _uses(lights: Mapping[str, Mapping[str, Any]], edition: str, code: str) -> tuple[list[str], list[str]]:
    def shown(question: str) -> bool:
        return lights[question]["light"] in ("green", "amber")

    may = []
    if shown("valid"):
        may.append("Test software, data pipelines and forms with records that obey the clinical rules.")
    if shown("faithful"):
        may.append(
            "Explore distributions and pairs of columns, and write analysis plans before applying for real data."
        )
    if shown("useful"):
        may.append("Prototype prediction and survival models, then confirm every result on real patients.")
    if edition == "simulated":
        may.append("Share freely for teaching and demonstration: the patients behind it are simulated.")
    elif code == "may_be_considered":
        may.append("Go to the data holder's release decision as evidence for an anonymisation assessment.")
    if not may:
        may.append("Nothing yet: see the lights above.")
    may_not = [
        "Be used for decisions about a patient, a treatment or a device without confirmation on real data.",
        "Be used to look for a person, or be linked with other data about persons.",
        "Be analysed as if every row were a patient: standard errors come out too small.",
    ]
    if not shown("useful"):
        may_not.append("Stand in for patients in prediction or survival analysis: usefulness is not shown.")
    if edition == "internal":
        may_not.append("Leave the site in this edition.")
    return may, may_not
