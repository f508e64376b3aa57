"""The release ledger (`ledger.json`): what a release cost one patient, in numbers that anybody can compute again.

`release_ledger` turns the sites' ledgers into one statement: unit, neighbours, every event with its noise, what was
public by declaration, what the number covers, what it does not, and who has to be trusted for it. `recompute_epsilon`
starts from the events alone. Epsilon is null, and the words are "no formal guarantee", wherever the noise could be
subtracted (a public seed) or was not there. A statement never holds a count of patients.

Two epsilons are stated per population. `epsilon` holds against readers, the server and as many colluding sites as
`mode` says; `epsilon_local` against all other sites together, and where the secure sum fails. They are the same number
where every site draws all the noise its own patients need.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from synthfed.errors import LedgerBroken, UnsupportedEvent
from synthfed.pipeline import Pipeline
from synthfed.privacy.accounting import accountant_of, epsilon_alone, epsilon_of, second_opinion
from synthfed.privacy.events import Budget, PrivacyEvent
from synthfed.privacy.history import check_export, event_dict, event_from, plain
from synthfed.privacy.ledger import Ledger
from synthfed.privacy.words import (
    EXACT_SUMS,
    NO_GUARANTEE,
    UNIT,
    covered,
    guarantee,
    implementation,
    not_covered,
    public,
    trust,
)

SCHEMA = "synthfed.ledger/1"


def release_ledger(
    exports: Mapping[str, Mapping[str, Any]],
    pipeline: Pipeline,
    *,
    simulated: bool,
    seeded: bool,
    planned: Iterable[PrivacyEvent] | None = None,
    scored: Mapping[str, Mapping[str, Any]] | None = None,
    scoring: Iterable[PrivacyEvent] = (),
    exact_sums: bool = False,
) -> dict[str, Any]:
    """State what a release cost the patients of the sites whose ledgers are given.

    The cost is the largest over sites (their patients are disjoint) and, per population, over everything that the
    exports list: an export over all runs counts earlier runs too.

    Args:
        exports: `Ledger.export()` per site.
        simulated: No patient took part.
        seeded: The noise followed from a public seed.
        planned: Every event of the run, in order, as sites reserved it. None: a round of training steps for each round
            of the pipeline.
        scored: `Ledger.export(run)` per site of the run that scored held-out patients; None where none did. With it,
            `exports` too are of one run.
        scoring: Every event of that run.
        exact_sums: Exact sums over held-out patients left the sites, which no epsilon covers.

    Raises:
        LedgerBroken: An export does not hold by itself, is filed under another site, or has charged less than
            `planned`: a release whose charge is missing is not stated. A site that was away from rounds may have
            charged less; see `_require_consistent_absences`.
    """
    events = _checked_events(exports, _due(pipeline, planned), pipeline)
    heads = {site: export["head"] for site, export in exports.items()}
    if scored is not None:
        if set(scored) != set(exports):
            raise LedgerBroken(f"ledgers of {sorted(scored)} say what scoring cost; wanted {sorted(exports)}")
        for site, charged in _checked_events(scored, _due(pipeline, scoring), pipeline).items():
            events[site] = [*events[site], *charged]
        heads = {site: export["head"] for site, export in scored.items()}
    statement = _statement(events, heads, pipeline, simulated=simulated, seeded=seeded)
    return _with_exact_sums(statement) if exact_sums else statement


def _checked_events(
    exports: Mapping[str, Mapping[str, Any]], due: "Due", pipeline: Pipeline
) -> dict[str, list[dict[str, Any]]]:
    """What each site charged, once its export holds by itself and lacks nothing that was due."""
    events: dict[str, list[dict[str, Any]]] = {}
    for site, export in exports.items():
        if export.get("site") != site:
            raise LedgerBroken(f"the ledger given for site {site!r} is that of site {export.get('site')!r}")
        check_export(export)
        events[site] = list(export["events"])
        found = _charged(events[site])
        missing = [key for key, steps in due.items() if found.get(key, 0) < steps]
        if missing and not pipeline.federation.max_missing:
            whole = sum(min(found.get(key, 0), steps) for key, steps in due.items())
            raise LedgerBroken(
                f"site {site!r} charged {whole} of the {sum(due.values())} steps of this run, {missing[0][1]!r} not "
                "whole; a release with a missing charge is refused: ask the site for its ledger again"
            )
    if not events:
        raise LedgerBroken("no site's ledger was given; a release without one cannot be stated")
    if pipeline.federation.max_missing:
        _require_consistent_absences(exports, due, pipeline)
    return events


def _with_exact_sums(statement: dict[str, Any]) -> dict[str, Any]:
    """The statement of a release beside which exact sums left the sites: what is promised is promised of the rest."""
    return {
        **statement,
        "exact_sums": True,
        "guarantee": f"{statement['guarantee']} {EXACT_SUMS}",
        "not_covered": [EXACT_SUMS, *statement["not_covered"]],
    }


Due = dict[tuple[str, str], int]  # steps by (population, purpose), in the order of the plan


def _due(pipeline: Pipeline, planned: Iterable[PrivacyEvent] | None) -> Due:
    if planned is None:
        return {
            ("train", f"round {index}"): pipeline.federation.local_steps for index in range(pipeline.federation.rounds)
        }
    due: Due = {}
    for event in planned:
        due[event.population, event.purpose] = due.get((event.population, event.purpose), 0) + event.steps
    return due


def _charged(events: Iterable[Mapping[str, Any]]) -> Due:
    found: Due = {}
    for event in events:
        key = (event["population"], event["purpose"])
        found[key] = found.get(key, 0) + event["steps"]
    return found


def _require_consistent_absences(exports: Mapping[str, Mapping[str, Any]], due: Due, pipeline: Pipeline) -> None:
    """Let a site have charged less than the plan where rounds may go on without it.

    Its run must be closed, so that nothing can be charged to it any more; every round that it charged must be charged
    whole; and no round may lack more sites than the pipeline allows: so many charges were due for its sum.

    Raises:
        LedgerBroken: Naming what does not fit.
    """
    allowed = min(pipeline.federation.max_missing, (len(exports) - 1) // 3)
    absent: dict[tuple[str, str], list[str]] = {}
    for site, export in exports.items():
        found = _charged(export["events"])
        away = [key for key, steps in due.items() if found.get(key, 0) < steps]
        halved = [key for key in away if key in found]
        closed = {entry["body"]["manifest"] for entry in export["entries"] if entry["kind"] == "close"}
        runs = {export["manifest"]} if export["manifest"] else {event["manifest"] for event in export["events"]}
        if halved or (away and not (runs and runs <= closed)):
            what = f"charged a part of {halved[0][1]}" if halved else "has not closed its run"
            raise LedgerBroken(
                f"site {site!r} charged {sum(found.get(key, 0) for key in due)} of the {sum(due.values())} steps of "
                f"this run and {what}; ask the site for its ledger again"
            )
        for key in away:
            absent.setdefault(key, []).append(site)
    for key, steps in due.items():
        sites = absent.get(key, [])
        if len(sites) > allowed:
            raise LedgerBroken(
                f"sites {', '.join(sites)} charged nothing for {key[1]}, {steps} steps; {allowed} of {len(exports)} "
                "may be missing from a round of this pipeline: a release with a missing charge is refused"
            )


def central_ledger(
    events: Iterable[PrivacyEvent],
    pipeline: Pipeline,
    *,
    site: str,
    simulated: bool,
    seeded: bool,
    planned: Iterable[PrivacyEvent] | None = None,
) -> dict[str, Any]:
    """State what training on one site's table cost: the same statement from a ledger kept in memory.

    Raises:
        BudgetRefused: The events cost more than the pipeline's budget.
        LedgerBroken: Less than `planned`; see `release_ledger`.
    """
    events = list(events)
    run = pipeline.digest()
    with Ledger.open(None, site=site, limit=Budget(pipeline.privacy.epsilon, pipeline.privacy.delta)) as ledger:
        ledger.reserve(run, events)
        for number, event in enumerate(events):
            ledger.charge(f"{run}:{number}", run, event)
        ledger.close(run)
        export = ledger.export()
    return release_ledger({site: export}, pipeline, simulated=simulated, seeded=seeded, planned=planned)


def recompute_epsilon(ledger: Mapping[str, Any]) -> float:
    """Compute the cost of a release again from nothing but its events: the largest over sites and populations.

    For a seeded run this is what the same plan would cost under secret noise. Infinity without noise.

    Raises:
        LedgerBroken: The statement is incomplete or an event cannot be read.
    """
    return max(recompute_populations(ledger).values())


def recompute_populations(ledger: Mapping[str, Any], *, alone: bool = False) -> dict[str, float]:
    """`recompute_epsilon` per population.

    Args:
        alone: Against all other sites together: what `epsilon_local` states.

    Raises:
        LedgerBroken: The statement is incomplete or an event cannot be read.
    """
    cost = epsilon_alone if alone else epsilon_of
    try:
        found = {
            name: max(
                cost(_events_of(ledger["events"], site["site"], name), stated["delta"]) for site in ledger["sites"]
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

    Checks both epsilons against the events to 1e-6, each site's steps, that colluders are counted as the noise was
    shared, and that nothing is promised where the noise was seeded or absent.
    """
    try:
        again, alone = recompute_populations(ledger), recompute_populations(ledger, alone=True)
        problems = []
        promised = bool(ledger["formal"])
        for name, stated in ledger["populations"].items():
            local = stated.get("epsilon_local_of_events", stated["epsilon_of_events"])  # not written by version 0.1
            for words, number, right in (
                ("", stated["epsilon_of_events"], again[name]),
                ("_local", local, alone[name]),
            ):
                if not _close(number, right):
                    problems.append(f"{name}: epsilon{words} {number} stated, {right:.6f} from the events")
            pair = (stated["epsilon"], stated["epsilon_local"])
            if pair != ((stated["epsilon_of_events"], local) if promised else (None, None)):
                problems.append(f"{name}: epsilon {pair} is stated as a promise, formal is {promised}")
        if ledger["mode"]["colluders"] > _mode(ledger["events"], len(ledger["sites"]))["colluders"]:
            problems.append(f"mode: {ledger['mode']['colluders']} colluders stated, more than the events say")
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
    alone = max(_number(stated["epsilon_local_of_events"]) for stated in populations.values())
    mode = _mode(merged, len(sites))
    if mode["noise"] == "shared":  # a site that is lost is one of those whose noise is not counted
        mode["colluders"] -= min(pipeline.federation.max_missing, (mode["sites"] - 1) // 3)
    return {
        "schema": SCHEMA,
        "unit": UNIT,
        "adjacency": "add/remove",
        "guarantee": guarantee(worst, alone, delta, mode, seeded=seeded, simulated=simulated),
        "formal": formal,
        "seeded": seeded,
        "simulated": simulated,
        "populations": populations,
        "mode": mode,
        "trust": trust(worst, alone, mode) if formal else NO_GUARANTEE,
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
        "public": public(pipeline, merged),
        "covered": covered(mode),
        "not_covered": not_covered(pipeline, len(sites), mode),
        "implementation": {"synthfed": _installed("synthfed"), **implementation(pipeline, mode, seeded=seeded)},
    }


def _population(
    merged: Sequence[Mapping[str, Any]], sites: Sequence[str], name: str, delta: float, *, seeded: bool
) -> dict[str, Any]:
    worst = max((_events_of(merged, site, name) for site in sites), key=lambda events: epsilon_of(events, delta))
    epsilon = epsilon_of(worst, delta)
    alone = max(epsilon_alone(_events_of(merged, site, name), delta) for site in sites)
    other = second_opinion(worst, delta)
    accountant, installed = accountant_of(worst)
    promised = None if seeded or math.isinf(epsilon) else epsilon
    return {
        "epsilon": promised,
        "epsilon_local": None if promised is None else alone,
        "epsilon_of_events": plain(epsilon),
        "epsilon_local_of_events": plain(alone),
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


def _mode(merged: Iterable[Mapping[str, Any]], sites: int) -> dict[str, Any]:
    """Where noise comes from, and against how many colluding sites `epsilon` holds: the fewest over the events."""
    shared = [event for event in merged if event["mechanism"] == "skellam"]
    if not shared:
        return {"noise": "local", "sites": sites, "colluders": sites - 1}
    return {
        "noise": "shared",
        "sites": min(event["sites"] for event in shared),
        "colluders": min(event["colluders"] for event in shared),
    }


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
