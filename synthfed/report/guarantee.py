"""The differential privacy statement in sentences: epsilon never without delta, unit, adjacency and trust model."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from synthfed.pipeline import Pipeline
from synthfed.report.verdict import number

_NEIGHBOURS = {
    "add_remove": "adding or removing one patient",
    "add/remove": "adding or removing one patient",
    "replace_one": "replacing one patient by another",
}


def guarantee(ledger: Mapping[str, Any], pipeline: Pipeline, *, simulated: bool) -> dict[str, Any]:
    """What the page says about differential privacy, from the ledger statement.

    Returns:
        `formal` (whether a guarantee is claimed at all), `epsilon`, `delta`, `sentence`, `plain`, `trust`, `sites`
        (name and epsilon), `events` (equal events joined) and `not_covered`.
    """
    train = ledger["populations"]["train"]
    epsilon, delta = _number(train["epsilon"]), float(train["delta"])
    formal, doubt = _formal(ledger, epsilon)
    return {
        "formal": formal,
        "epsilon": epsilon,
        "delta": delta,
        "unit": str(ledger["unit"]),
        "adjacency": str(ledger["adjacency"]),
        "sentence": _sentence(ledger, epsilon, delta) if formal else f"No formal guarantee: {doubt}.",
        "plain": _plain(epsilon, delta) if formal else _no_promise(simulated),
        "trust": _trust(pipeline) if formal else "",
        "sites": _site_budgets(ledger, epsilon),
        "events": joined_events(ledger["events"]),
        "not_covered": [str(entry) for entry in ledger.get("not_covered", ())],
    }


def joined_events(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Ledger events with the same mechanism and noise as one line, steps added up."""
    joined: dict[tuple[Any, ...], dict[str, Any]] = {}
    for event in events:
        sigma = event.get("noise_multiplier", event.get("sigma"))
        rate = event.get("sample_rate", event.get("q"))
        reach = event.get("l2_sensitivity", event.get("l2"))
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


def _formal(ledger: Mapping[str, Any], epsilon: float) -> tuple[bool, str]:
    if not math.isfinite(epsilon):
        return False, "differential privacy was switched off for this run"
    if ledger.get("seeded") or ledger.get("formal") is False:
        return (
            False,
            "the noise was drawn from a seed so that the run can be repeated, and a known seed undoes the noise",
        )
    return True, ""


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
    return f"{100 * share:.0f} %" if share < 0.99 else f"{100 * share:.2f} %"


def _one_in(delta: float) -> str:
    return f"1 in {round(1 / delta):,}".replace(",", " ")


def _no_promise(simulated: bool) -> str:
    if simulated:
        return "Nobody is exposed: the patients are simulated. With real patients the same run draws secret noise."
    return "Nothing but the attacks below speaks for the patients' privacy. Do not release this table as private."


def _trust(pipeline: Pipeline) -> str:
    if pipeline.federation.noise == "local":
        return (
            "Each site adds its own full noise before anything leaves it, so the promise holds against the server, "
            "all outsiders, and all other sites together. Only the patient's own hospital is trusted."
        )
    return "Sites share the noise: the promise assumes that not all other sites collude."


def _site_budgets(ledger: Mapping[str, Any], epsilon: float) -> list[dict[str, Any]]:
    sites = ledger.get("sites", {})
    if isinstance(sites, Mapping):
        return [
            {"site": name, "epsilon": _number(entry["epsilon"] if isinstance(entry, Mapping) else entry)}
            for name, entry in sites.items()
        ]
    return [{"site": str(entry["site"]), "epsilon": _number(entry.get("epsilon", epsilon))} for entry in sites]
