"""The differential privacy statement in sentences: epsilon never without delta, unit, adjacency and trust model.

Where the sites share the noise among them two epsilons hold, against different people, and neither is said without the
other.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from synthfed.privacy.budget import gdp_mu
from synthfed.privacy.words import EXACT_SUMS
from synthfed.report.verdict import capital, number

TRAINING_ROUNDS = "training rounds"

_NEIGHBOURS = {
    "add_remove": "adding or removing one patient",
    "add/remove": "adding or removing one patient",
    "replace_one": "replacing one patient by another",
}


# What a statement must hold, after NIST SP 800-226, section by section, with the words a reader is told.
_WANTED: Mapping[str, str] = {
    "unit": "the unit of privacy",
    "adjacency": "the neighbours",
    "events": "the events",
    "public": "what was public by declaration",
    "mode": "where the noise comes from",
    "trust": "whom one has to trust",
    "covered": "what epsilon covers",
    "not_covered": "what epsilon does not cover",
    "sites": "the sites",
}
_HOW: Mapping[str, str] = {
    "randomness": "the source of randomness",
    "sampling": "the sampling scheme",
    "floating_point": "what is outside the proof in floating point",
}
_OF_A_POPULATION: Mapping[str, str] = {"delta": "delta", "accountant": "the accountant", "version": "its version"}
_OF_AN_EVENT = ("mechanism", "noise_multiplier", "l2_sensitivity", "sample_rate", "steps", "population", "purpose")


def guarantee(ledger: Mapping[str, Any], *, simulated: bool) -> dict[str, Any]:
    """What the page says about differential privacy, from the ledger statement (`privacy.statement.release_ledger`).

    Returns:
        `formal` (whether anything is promised), `epsilon` (of the events: what is promised, or what the same plan
        would cost under secret noise), `epsilon_local` (the same against all other sites together), `noise` (`local`
        or `shared`) and `colluders` (sites that `epsilon` holds against), `delta`, `sentence`, `plain`, `trust`,
        `sites` (name and epsilon), `events` (equal events joined), `budgets` (per population of patients), `public`
        (what was public by declaration, and where), `accountant`, `implementation`, `covered`, `not_covered`, and
        `missing`: what NIST SP 800-226 asks of a statement (doi 10.6028/NIST.SP.800-226) and this one lacks.
    """
    worst = max(ledger["populations"].values(), key=lambda stated: _number(stated["epsilon_of_events"]))
    epsilon, delta = _number(worst["epsilon_of_events"]), float(worst["delta"])
    alone = max(
        _number(stated.get("epsilon_local_of_events", stated["epsilon_of_events"]))
        for stated in ledger["populations"].values()
    )
    formal = bool(ledger["formal"]) and not ledger["seeded"] and math.isfinite(epsilon)
    return {
        "formal": formal,
        "epsilon": epsilon,
        "epsilon_local": alone,
        "noise": str(ledger["mode"]["noise"]),
        "colluders": int(ledger["mode"]["colluders"]),
        "delta": delta,
        "unit": str(ledger.get("unit", "")),
        "adjacency": str(ledger["adjacency"]),
        "sentence": _sentence(ledger, epsilon, alone, delta) if formal else capital(str(ledger["guarantee"])),
        "plain": _plain(ledger["mode"], epsilon, alone, delta) if formal else _no_promise(simulated),
        "trust": str(ledger.get("trust", "")) if formal else "",
        "accountant": _accountant(worst),
        "budgets": [_budget(name, stated) for name, stated in ledger["populations"].items()],
        "public": [dict(entry) for entry in ledger.get("public", ())],
        "implementation": dict(ledger.get("implementation", {})),
        "missing": missing_from(ledger),
        "sites": [{"site": str(entry["site"]), "epsilon": _number(entry["epsilon"])} for entry in ledger["sites"]],
        "events": budget_lines(ledger),
        "covered": [str(entry) for entry in ledger.get("covered", ())],
        "not_covered": [str(entry) for entry in ledger.get("not_covered", ())],
    }


def missing_from(ledger: Mapping[str, Any]) -> list[str]:
    """What a complete statement holds and this one does not, in words; empty when it is complete."""
    lacks = [words for key, words in _WANTED.items() if not ledger.get(key)]
    inside = ledger.get("implementation") or {}
    lacks += [words for key, words in _HOW.items() if not inside.get(key)]
    for name, stated in ledger["populations"].items():
        lacks += [f"{words} of population {name!r}" for key, words in _OF_A_POPULATION.items() if not stated.get(key)]
    if any(set(_OF_AN_EVENT) - set(event) for event in ledger.get("events", ())):
        lacks.append("mechanism, noise, sensitivity, sampling or steps of an event")
    return lacks


def _budget(name: str, stated: Mapping[str, Any]) -> dict[str, Any]:
    """One population's epsilons, and what a second accountant says."""
    second = stated.get("second_opinion") or {}
    return {
        "population": name,
        "epsilon": _number(stated["epsilon_of_events"]),
        "epsilon_local": _number(stated.get("epsilon_local_of_events", stated["epsilon_of_events"])),
        "delta": float(stated["delta"]),
        "accountant": f"{stated.get('accountant', '')} {stated.get('version', '')}".strip(),
        "second_opinion": second.get("name"),
        "relative_difference": second.get("relative_difference"),
    }


def against_all_others(privacy: Mapping[str, Any]) -> str:
    """The second epsilon as a clause to stand beside the first; empty where they are one number.

    Args:
        privacy: What `guarantee` returned.
    """
    if privacy["noise"] != "shared":
        return ""
    return f"epsilon_local = {number(privacy['epsilon_local'])} against all other sites together"


def joined_events(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Ledger events with the same purpose, mechanism and noise as one line, steps added up."""
    joined: dict[tuple[Any, ...], dict[str, Any]] = {}
    for event in events:
        sigma, rate, reach = event["noise_multiplier"], event["sample_rate"], event["l2_sensitivity"]
        kind = _kind(str(event["purpose"]))
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


def budget_lines(ledger: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`joined_events`, each with its `share` of its population's budget; None where there was no noise.

    Shares are of mu squared, which adds up where epsilon does not (Gaussian differential privacy, arXiv 1905.02383):
    steps / noise_multiplier**2 for sums over all patients. Sums over sampled patients share what these leave of the mu
    that the population's epsilon amounts to.
    """
    lines = joined_events(ledger["events"])
    for name, stated in ledger["populations"].items():
        own = [line for line in lines if line["population"] == name]
        parts = [
            line["steps"] / line["noise_multiplier"] ** 2 if line["noise_multiplier"] else math.inf for line in own
        ]
        if not all(map(math.isfinite, parts)):
            for line in own:
                line["share"] = None
            continue
        sampled = [part if line["sample_rate"] < 1 else 0.0 for line, part in zip(own, parts, strict=True)]
        whole = sum(parts) - sum(sampled)
        if any(sampled):
            spent = gdp_mu(_number(stated["epsilon_of_events"]), float(stated["delta"])) ** 2
            scale = max(spent - whole, 0.0) / sum(sampled)
            parts = [s * scale if s else part for s, part in zip(sampled, parts, strict=True)]
        for line, part in zip(own, parts, strict=True):
            line["share"] = part / sum(parts)
    return lines


def _kind(purpose: str) -> str:
    """What a charge was for: "round 1, counting edges" counted edges, "round 7" trained; else what the ledger says."""
    numbered = re.fullmatch(r"round \d+(?:, (.+))?", purpose)
    if numbered is None:
        return purpose
    return numbered[1] or TRAINING_ROUNDS


def _number(value: Any) -> float:
    return math.inf if value is None or value == "inf" else float(value)


def _accountant(stated: Mapping[str, Any]) -> str:
    words = f"{stated['accountant']} ({stated['version']})"
    other = stated.get("second_opinion")
    if not other:
        return words
    return f"{words}; second opinion {other['name']}: {number(other['epsilon'])}"


def _sentence(ledger: Mapping[str, Any], epsilon: float, alone: float, delta: float) -> str:
    neighbours = _NEIGHBOURS.get(str(ledger["adjacency"]), str(ledger["adjacency"]))
    mode = ledger["mode"]
    promise = f"differentially private with epsilon = {number(epsilon)} at delta = {number(delta)}, for {neighbours}"
    unit = f"The unit is {ledger.get('unit') or 'not stated'}."
    if ledger.get("exact_sums"):
        promise = f"The model and the synthetic table are {promise}. {unit} {EXACT_SUMS}"
        return promise if mode["noise"] != "shared" else f"{promise} {_shared_noise(mode, alone)}"
    if mode["noise"] != "shared":
        return f"All that left each hospital is {promise}. {unit}"
    return f"All that the secure sums opened is {promise}. {_shared_noise(mode, alone)} {unit}"


def _shared_noise(mode: Mapping[str, Any], alone: float) -> str:
    return (
        f"It holds against {_against(mode)}; against all other sites together, and if a secure sum fails, "
        f"epsilon_local = {number(alone)} holds."
    )


def _against(mode: Mapping[str, Any]) -> str:
    """A site knows its own share of the noise, so it is one of the colluders if it looks."""
    count, sites = int(mode["colluders"]), int(mode["sites"])
    if count == 0:
        return "readers and the server, not against a site"
    return f"readers, the server and {'any one' if count == 1 else f'up to {count}'} of the {sites} sites"


def _plain(mode: Mapping[str, Any], epsilon: float, alone: float, delta: float) -> str:
    said = (
        f"Whoever held it for even odds (50 %) that a given patient took part can become at most {_most(epsilon)} "
        f"sure, whatever else they know, but for a chance of about {_one_in(delta)}. "
    )
    if mode["noise"] == "shared":
        said += f"If all other sites pool what they drew, they can become at most {_most(alone)} sure. "
    return said + "This is a ceiling, not an estimate."


def _most(epsilon: float) -> str:
    return _percent(1.0 / (1.0 + math.exp(-epsilon)))


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
