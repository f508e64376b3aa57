"""The release ledger (`ledger.json`): what a release cost one patient, in numbers that anybody can compute again.

`release_ledger` turns the sites' ledgers into one statement: unit, neighbours, every event with its noise, what was
public by declaration, what the number covers, what it does not, and who has to be trusted for it. `recompute_epsilon`
starts from the events alone. Epsilon is null, and the words are "no formal guarantee", wherever the noise could be
subtracted (a public seed) or was not there. A statement never holds a count of patients.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from synthfed.errors import LedgerBroken, UnsupportedEvent
from synthfed.pipeline import Pipeline
from synthfed.privacy.accounting import accountant_of, epsilon_of, second_opinion
from synthfed.privacy.events import Budget, PrivacyEvent
from synthfed.privacy.history import check_export, event_dict, event_from, plain
from synthfed.privacy.ledger import Ledger

SCHEMA = "synthfed.ledger/1"
NO_GUARANTEE = "no formal guarantee"
UNIT = "one patient: all rows of that patient at one site, capped at one row"


def release_ledger(
    exports: Mapping[str, Mapping[str, Any]], pipeline: Pipeline, *, simulated: bool, seeded: bool
) -> dict[str, Any]:
    """State what a release cost the patients of the sites whose ledgers are given.

    The cost is the largest over sites (their patients are disjoint) and, per population, over everything that the
    exports list: an export over all runs counts earlier runs too.

    Args:
        exports: `Ledger.export()` per site.
        simulated: No patient took part.
        seeded: The noise followed from a public seed.

    Raises:
        LedgerBroken: An export does not hold by itself, is filed under another site, or has charged fewer steps than
            the pipeline takes: a release whose charge is missing is not stated. A site that was away from rounds may
            have charged less; see `_require_consistent_absences`.
    """
    events: dict[str, list[dict[str, Any]]] = {}
    for site, export in exports.items():
        if export.get("site") != site:
            raise LedgerBroken(f"the ledger given for site {site!r} is that of site {export.get('site')!r}")
        check_export(export)
        events[site] = list(export["events"])
        steps = sum(event["steps"] for event in events[site] if event["population"] == "train")
        if steps < pipeline.total_steps and not pipeline.federation.max_missing:
            raise LedgerBroken(
                f"site {site!r} charged {steps} of the {pipeline.total_steps} training steps of this pipeline; a "
                "release with a missing charge is refused: ask the site for its ledger again"
            )
    if not events:
        raise LedgerBroken("no site's ledger was given; a release without one cannot be stated")
    if pipeline.federation.max_missing:
        _require_consistent_absences(exports, pipeline)
    heads = {site: export["head"] for site, export in exports.items()}
    return _statement(events, heads, pipeline, simulated=simulated, seeded=seeded)


def _require_consistent_absences(exports: Mapping[str, Mapping[str, Any]], pipeline: Pipeline) -> None:
    """Let a site have charged less than the plan where rounds may go on without it.

    Its run must be closed, so that nothing can be charged to it any more; every round that it charged must be charged
    whole; and no round may lack more sites than the pipeline allows: so many charges were due for its sum.

    Raises:
        LedgerBroken: Naming what does not fit.
    """
    rounds, whole = pipeline.federation.rounds, pipeline.federation.local_steps
    allowed = min(pipeline.federation.max_missing, (len(exports) - 1) // 3)
    absent: dict[int, list[str]] = {}
    for site, export in exports.items():
        steps: dict[str, int] = {}
        for event in export["events"]:
            if event["population"] == "train":
                steps[event["purpose"]] = steps.get(event["purpose"], 0) + event["steps"]
        away = [index for index in range(rounds) if steps.get(f"round {index}", 0) < whole]
        halved = [index for index in away if f"round {index}" in steps]
        closed = {entry["body"]["manifest"] for entry in export["entries"] if entry["kind"] == "close"}
        runs = {export["manifest"]} if export["manifest"] else {event["manifest"] for event in export["events"]}
        if halved or (away and not (runs and runs <= closed)):
            what = f"charged a part of round {halved[0]}" if halved else "has not closed its run"
            raise LedgerBroken(
                f"site {site!r} charged {sum(steps.values())} of the {pipeline.total_steps} training steps of this "
                f"pipeline and {what}; ask the site for its ledger again"
            )
        for index in away:
            absent.setdefault(index, []).append(site)
    for index, sites in sorted(absent.items()):
        if len(sites) > allowed:
            raise LedgerBroken(
                f"sites {', '.join(sites)} charged nothing for round {index}; {allowed} of {len(exports)} may be "
                "missing from a round of this pipeline: a release with a missing charge is refused"
            )


def central_ledger(
    events: Iterable[PrivacyEvent], pipeline: Pipeline, *, site: str, simulated: bool, seeded: bool
) -> dict[str, Any]:
    """State what training on one site's table cost: the same statement from a ledger kept in memory.

    Raises:
        BudgetRefused: The events cost more than the pipeline's budget.
        LedgerBroken: Fewer steps than the pipeline takes.
    """
    events = list(events)
    run = pipeline.digest()
    with Ledger.open(None, site=site, limit=Budget(pipeline.privacy.epsilon, pipeline.privacy.delta)) as ledger:
        ledger.reserve(run, events)
        for number, event in enumerate(events):
            ledger.charge(f"{run}:{number}", run, event)
        ledger.close(run)
        export = ledger.export()
    return release_ledger({site: export}, pipeline, simulated=simulated, seeded=seeded)


def recompute_epsilon(ledger: Mapping[str, Any]) -> float:
    """Compute the cost of a release again from nothing but its events: the largest over sites and populations.

    For a seeded run this is what the same plan would cost under secret noise. Infinity without noise.

    Raises:
        LedgerBroken: The statement is incomplete or an event cannot be read.
    """
    return max(recompute_populations(ledger).values())


def recompute_populations(ledger: Mapping[str, Any]) -> dict[str, float]:
    """`recompute_epsilon` per population.

    Raises:
        LedgerBroken: The statement is incomplete or an event cannot be read.
    """
    try:
        found = {
            name: max(
                epsilon_of(_events_of(ledger["events"], site["site"], name), stated["delta"])
                for site in ledger["sites"]
            )
            for name, stated in ledger["populations"].items()
        }
        stray = {event["population"] for event in ledger["events"]} - set(found)
    except (KeyError, TypeError, ValueError, AttributeError, UnsupportedEvent) as error:
        raise LedgerBroken(f"the release ledger cannot be computed again ({error}); it is incomplete") from error
    if stray or not found:
        raise LedgerBroken(f"the release ledger states no epsilon for {sorted(stray) or 'anything'}; it is incomplete")
    return found


def inconsistencies(ledger: Mapping[str, Any]) -> list[str]:
    """What does not agree with itself in a statement; empty when all holds.

    Checks each epsilon against the events to 1e-6, each site's steps and epsilon, and that nothing is promised where
    the noise was seeded or absent.
    """
    try:
        again = recompute_populations(ledger)
        problems = []
        promised = bool(ledger["formal"])
        for name, stated in ledger["populations"].items():
            if not _close(stated["epsilon_of_events"], again[name]):
                problems.append(
                    f"{name}: epsilon {stated['epsilon_of_events']} stated, {again[name]:.6f} from the events"
                )
            if stated["epsilon"] != (stated["epsilon_of_events"] if promised else None):
                problems.append(f"{name}: epsilon {stated['epsilon']} is stated as a promise, formal is {promised}")
        may_promise = not ledger["seeded"] and all(map(math.isfinite, again.values()))
        if promised != may_promise or (NO_GUARANTEE in ledger["guarantee"]) == promised:
            problems.append(f"formal is {promised}, but the noise was seeded or absent, or the words say otherwise")
        for site in ledger["sites"]:
            steps = sum(event["steps"] for event in ledger["events"] if site["site"] in event["ids"])
            if steps != site["steps"]:
                problems.append(f"site {site['site']!r}: {site['steps']} steps stated, {steps} in the events")
    except (KeyError, TypeError, AttributeError, LedgerBroken) as error:
        return [f"incomplete: {error}"]
    return problems


def _statement(
    events: Mapping[str, Sequence[Mapping[str, Any]]],
    heads: Mapping[str, str],
    pipeline: Pipeline,
    *,
    simulated: bool,
    seeded: bool,
) -> dict[str, Any]:
    delta = pipeline.privacy.delta
    merged = _merge(events, delta)
    sites = list(events)
    populations = {
        name: _population(merged, sites, name, delta, seeded=seeded)
        for name in sorted({event["population"] for event in merged})
    }
    formal = all(stated["epsilon"] is not None for stated in populations.values())
    worst = max(_number(stated["epsilon_of_events"]) for stated in populations.values())
    return {
        "schema": SCHEMA,
        "unit": UNIT,
        "adjacency": "add/remove",
        "guarantee": _guarantee(worst, delta, seeded=seeded, simulated=simulated),
        "formal": formal,
        "seeded": seeded,
        "simulated": simulated,
        "populations": populations,
        "mode": {"noise": pipeline.federation.noise, "sites": len(sites), "colluders": len(sites) - 1},
        "trust": _trust(worst) if formal else NO_GUARANTEE,
        "sites": [
            {
                "site": site,
                "epsilon": plain(max(epsilon_of(_events_of(merged, site, name), delta) for name in populations)),
                "events": sum(site in event["ids"] for event in merged),
                "steps": sum(event["steps"] for event in merged if site in event["ids"]),
                "chain_head": heads[site],
            }
            for site in sites
        ],
        "events": merged,
        "public": _public(pipeline, merged),
        "covered": list(_COVERED),
        "not_covered": _not_covered(pipeline, len(sites)),
        "implementation": {
            "synthfed": _installed("synthfed"),
            "randomness": _SEEDED if seeded else _SECRET,
            "sampling": "full batch" if pipeline.federation.sample_rate == 1 else "Poisson, one coin per patient",
            "floating_point": _FLOATS,
        },
    }


def _population(
    merged: Sequence[Mapping[str, Any]], sites: Sequence[str], name: str, delta: float, *, seeded: bool
) -> dict[str, Any]:
    worst = max((_events_of(merged, site, name) for site in sites), key=lambda events: epsilon_of(events, delta))
    epsilon = epsilon_of(worst, delta)
    other = second_opinion(worst, delta)
    accountant, installed = accountant_of(worst)
    promised = None if seeded or math.isinf(epsilon) else epsilon
    return {
        "epsilon": promised,
        "epsilon_local": promised,
        "epsilon_of_events": plain(epsilon),
        "delta": delta,
        "accountant": accountant,
        "version": installed,
        "second_opinion": other
        and {"name": other.name, "epsilon": other.epsilon, "relative_difference": round(other.relative_difference, 6)},
    }


def _merge(events: Mapping[str, Sequence[Mapping[str, Any]]], delta: float) -> list[dict[str, Any]]:
    """The same work at several sites as one line, with each site's event id: nth time by nth time."""
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for site, charged in events.items():
        times: dict[tuple[Any, ...], int] = {}
        for raw in charged:
            event = event_dict(event_from(raw))
            key = tuple(event.values())
            times[key] = times.get(key, 0) + 1
            if (*key, times[key]) not in merged:
                alone = epsilon_of([event_from(raw)], delta)
                merged[*key, times[key]] = {**event, "cost": {"epsilon_alone": plain(alone)}, "ids": {}}
            merged[*key, times[key]]["ids"][site] = raw["id"]
    return list(merged.values())


def _events_of(merged: Iterable[Mapping[str, Any]], site: str, population: str) -> list[PrivacyEvent]:
    return [event_from(event) for event in merged if event["population"] == population and site in event["ids"]]


def _guarantee(epsilon: float, delta: float, *, seeded: bool, simulated: bool) -> str:
    patients = " The patients are simulated." if simulated else ""
    if math.isinf(epsilon):
        return f"{NO_GUARANTEE}: differential privacy was switched off.{patients}"
    if seeded:
        return (
            f"{NO_GUARANTEE}: the noise follows from a public seed, and who knows it can subtract the noise.{patients}"
        )
    return (
        f"({epsilon:.6g}, {delta:g})-differential privacy for {UNIT}; neighbours add or remove one patient.{patients}"
    )


def _trust(epsilon: float) -> str:
    return (
        f"Every site adds its own full noise before anything leaves it: epsilon {epsilon:.6g} holds against readers, "
        "the server and all other sites together, and even if the secure sum fails. A patient has to trust the own "
        "site and the software that runs there."
    )


_SECRET = "AES-256-CTR under a fresh 32-byte key of the operating system per stint, normals by Box and Muller"
_SEEDED = "AES-256-CTR under keys derived from the public seed of the pipeline, normals by Box and Muller"
_FLOATS = "noise and sums are floating-point numbers; the proof is for real numbers"

_COVERED = (
    "every weight change that left a site, in every round",
    "the model, the synthetic table, the rules enforced on it and all that is computed from these alone: "
    "post-processing, at no further cost",
    "encoding, bounds, levels, missing levels, network shapes, number of steps: public by declaration, "
    "not read from rows, so they cost nothing",
)


def _not_covered(pipeline: Pipeline, sites: int) -> list[str]:
    privacy = pipeline.privacy
    lines = [
        "side channels: time, memory, power, sizes of logs, and what an administrator of a site sees",
        "relatives, and others about whom a patient's rows tell: the unit is one patient",
        "what is true of the disease and would be learned without the patient: inference about populations",
        f"that each site has at least {pipeline.cohort.min_rows} training patients: a smaller site is refused",
        "who was eligible, that a site took part, and when: the server sees it",
        "a patient treated at two sites: the sites' costs add up",
        "words and numbers about attacks, and every score measured against real rows: they stay at the site, "
        "and where one is shown it is outside this epsilon",
        "bounds, levels and units of the dictionary: public by declaration; whoever took them from these rows "
        "released them without paying",
        "choices made by people after looking at the rows, and earlier releases of the same patients by other software",
        "floating point: " + _FLOATS,
    ]
    if privacy.delta > 1 / (10 * privacy.expected_patients):
        lines.append(
            f"delta {privacy.delta:g} is more than 1/(10 x {privacy.expected_patients} expected patients): "
            "the chance of a larger loss is not small for a cohort of that size"
        )
    if sites == 1:
        lines.append("one site: nothing was added to its contribution but its own noise")
    return lines


def _public(pipeline: Pipeline, merged: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    privacy, federation = pipeline.privacy, pipeline.federation
    noise = sorted({event["noise_multiplier"] for event in merged})
    declared = {
        "columns": (len(pipeline.cohort.columns), "pipeline.toml: cohort.columns"),
        "bounds, levels, scales, decimals, missing levels": ("as written", "dictionary.toml"),
        "expected_patients": (privacy.expected_patients, "pipeline.toml: privacy"),
        "epsilon": (plain(privacy.epsilon), "pipeline.toml: privacy"),
        "delta": (privacy.delta, "pipeline.toml: privacy"),
        "clip_norm": (privacy.clip_norm, "pipeline.toml: privacy"),
        "noise_multiplier": (noise, "calibrated from epsilon, delta, sample_rate and steps"),
        "rounds": (federation.rounds, "pipeline.toml: federation"),
        "local_steps": (federation.local_steps, "pipeline.toml: federation"),
        "sample_rate": (federation.sample_rate, "pipeline.toml: federation"),
        "delta_bound": (federation.delta_bound, "pipeline.toml: federation"),
        "min_rows": (pipeline.cohort.min_rows, "pipeline.toml: cohort"),
        "holdout_fraction": (pipeline.cohort.holdout_fraction, "pipeline.toml: cohort"),
        "generator": (pipeline.generator.kind, "pipeline.toml: generator"),
        "pipeline_sha256": (pipeline.digest(), "pipeline.toml"),
    }
    return [{"name": name, "value": value, "declared_in": place} for name, (value, place) in declared.items()]


def _close(stated: Any, again: float) -> bool:
    number = _number(stated)
    return number == again or abs(number - again) <= 1e-6


def _number(value: Any) -> float:
    return math.inf if value == "inf" else float(value)


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "bundle"
