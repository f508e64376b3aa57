"""The differential privacy statement in sentences: epsilon never without delta, unit, adjacency and trust model."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from synthfed.report.verdict import capital, number

_NEIGHBOURS = {
    "add_remove": "adding or removing one patient",
    "add/remove": "adding or removing one patient",
    "replace_one": "replacing one patient by another",
}


def guarantee(ledger: Mapping[str, Any], *, simulated: bool) -> dict[str, Any]:
    """What the page says about differential privacy, from the ledger statement (`privacy.statement.release_ledger`).

    Returns:
        `formal` (whether anything is promised), `epsilon` (of the events: what is promised, or what the same plan
        would cost under secret noise), `delta`, `sentence`, `plain`, `trust`, `sites` (name and epsilon), `events`
        (equal events joined), `accountant`, `covered` and `not_covered`.
    """
    worst = max(ledger["populations"].values(), key=lambda stated: _number(stated["epsilon_of_events"]))
    epsilon, delta = _number(worst["epsilon_of_events"]), float(worst["delta"])
    formal = bool(ledger["formal"]) and not ledger["seeded"] and math.isfinite(epsilon)
    return {
        "formal": formal,
        "epsilon": epsilon,
        "delta": delta,
        "unit": str(ledger["unit"]),
        "adjacency": str(ledger["adjacency"]),
        "sentence": _sentence(ledger, epsilon, delta) if formal else capital(str(ledger["guarantee"])),
        "plain": _plain(epsilon, delta) if formal else _no_promise(simulated),
        "trust": str(ledger["trust"]) if formal else "",
        "accountant": _accountant(worst),
        "sites": [{"site": str(entry["site"]), "epsilon": _number(entry["epsilon"])} for entry in ledger["sites"]],
        "events": joined_events(ledger["events"]),
        "covered": [str(entry) for entry in ledger["covered"]],
        "not_covered": [str(entry) for entry in ledger["not_covered"]],
    }


def joined_events(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Ledger events with the same mechanism and noise as one line, steps added up."""
    joined: dict[tuple[Any, ...], dict[str, Any]] = {}
    for event in events:
        sigma, rate, reach = event["noise_multiplier"], event["sample_rate"], event["l2_sensitivity"]
        purpose = str(event["purpose"])
        kind = "training rounds" if purpose.startswith("round") else purpose
        key = (kind, event["mechanism"], event["population"], sigma, rate, reach)
        line = joined.setdefault(
            key,
            {
                "purpose": kind,
                "mechanism": event["mechanism"],
                "population": event["population"],
                "noise_multiplier": sigma,
                "sample_rate": rate,
                "l2_sensitivity": reach,
                "events": 0,
                "steps": 0,
            },
        )
        line["events"] += 1
        line["steps"] += int(event["steps"])
    return list(joined.values())


def _number(value: Any) -> float:
    return math.inf if value is None or value == "inf" else float(value)


def _accountant(stated: Mapping[str, Any]) -> str:
    words = f"{stated['accountant']} ({stated['version']})"
    other = stated.get("second_opinion")
    if not other:
        return words
    return f"{words}; second opinion {other['name']}: {number(other['epsilon'])}"


def _sentence(ledger: Mapping[str, Any], epsilon: float, delta: float) -> str:
    neighbours = _NEIGHBOURS.get(str(ledger["adjacency"]), str(ledger["adjacency"]))
    return (
        f"All that left each hospital is differentially private with epsilon = {number(epsilon)} at delta = "
        f"{number(delta)}, for {neighbours}. The unit is {ledger['unit']}."
    )


def _plain(epsilon: float, delta: float) -> str:
    most = math.exp(epsilon) / (1.0 + math.exp(epsilon))
    return (
        f"Whoever held it for even odds (50 %) that a given patient took part can become at most {_percent(most)} "
        f"sure, whatever else they know, but for a chance of about {_one_in(delta)}. "
        "This is a ceiling, not an estimate."
    )


def _percent(share: float) -> str:
    """Rounded up, so that "at most" stays true, with as many digits as keep it from reading 100 %."""
    for digits in (0, 2, 3, 4, 5, 6):
        rounded = math.ceil(share * 100 * 10**digits) / 10**digits
        if rounded < 100:
            return f"{rounded:.{digits}f} %"
    return "100 %"


def _one_in(delta: float) -> str:
    return f"1 in {round(1 / delta):,}".replace(",", " ")


def _no_promise(simulated: bool) -> str:
    if simulated:
        return "Nobody is exposed: the patients are simulated. With real patients the same run draws secret noise."
    return "Nothing but the attacks below speaks for the patients' privacy. Do not release this table as private."
