"""The release ledger: complete, honest about what it does not cover, and computed again from its events alone."""

import copy
import dataclasses
import json
import math
import re
from typing import Any

import pytest

from synthfed.errors import BudgetRefused, LedgerBroken
from synthfed.pipeline import Pipeline
from synthfed.privacy.accounting import epsilon_alone, epsilon_of
from synthfed.privacy.events import Budget, PrivacyEvent
from synthfed.privacy.ledger import Ledger
from synthfed.privacy.skellam import rounded_sensitivity
from synthfed.privacy.statement import central_ledger, inconsistencies, recompute_epsilon, release_ledger

RUN = "a" * 64


def pipeline(**changes: Any) -> Pipeline:
    raw = {
        "title": "small",
        "disease": "aml",
        "cohort": {"columns": ["age_years", "sex"]},
        "generator": {"kind": "tvae"},
        "privacy": {"epsilon": 3.0, "expected_patients": 1600},
        "federation": {"rounds": 4, "local_steps": 3},
    }
    return Pipeline.parse(raw, origin="test").replace(**changes)


def rounds(noise: float = 10.0) -> list[PrivacyEvent]:
    return [PrivacyEvent(f"round {index}", "gaussian", "train", 1.0, noise, 1.0, 3) for index in range(4)]


def export(site: str, events: list[PrivacyEvent], *, done: int = 4) -> dict[str, Any]:
    with Ledger.open(None, site=site, limit=Budget(math.inf, 1e-5)) as ledger:
        ledger.reserve(RUN, events)
        for number, event in enumerate(events[:done]):
            ledger.charge(f"{site} {number}", RUN, event)
        ledger.close(RUN)
        exported: dict[str, Any] = json.loads(json.dumps(ledger.export(), allow_nan=False))
        return exported


@pytest.fixture
def ledger() -> dict[str, Any]:
    exports = {"lyon": export("lyon", rounds()), "milano": export("milano", rounds(noise=9.0))}
    return release_ledger(exports, pipeline(), simulated=False, seeded=False)


def test_the_release_costs_what_its_worst_site_costs(ledger: dict[str, Any]) -> None:
    stated = ledger["populations"]["train"]
    assert stated["epsilon"] == stated["epsilon_local"] == epsilon_of(rounds(noise=9.0), 1e-5)
    assert {site["site"]: site["epsilon"] for site in ledger["sites"]} == {
        "lyon": epsilon_of(rounds(), 1e-5),
        "milano": epsilon_of(rounds(noise=9.0), 1e-5),
    }


def test_epsilon_is_computed_again_from_the_written_events(ledger: dict[str, Any]) -> None:
    read = json.loads(json.dumps(ledger, allow_nan=False))
    assert recompute_epsilon(read) == pytest.approx(ledger["populations"]["train"]["epsilon"], abs=1e-6)
    assert inconsistencies(read) == []


def test_a_second_opinion_stands_beside_the_accountant(ledger: dict[str, Any]) -> None:
    stated = ledger["populations"]["train"]
    assert stated["accountant"].startswith("Opacus PRV")
    assert stated["version"].startswith("opacus 1.6")
    assert "closed form" in stated["second_opinion"]["name"]
    assert 0 <= stated["second_opinion"]["relative_difference"] < 0.01


def test_the_same_work_at_several_sites_is_one_line_with_each_sites_id() -> None:
    exports = {site: export(site, rounds()) for site in ("lyon", "milano")}
    stated = release_ledger(exports, pipeline(), simulated=False, seeded=False)
    assert [event["purpose"] for event in stated["events"]] == [f"round {index}" for index in range(4)]
    assert stated["events"][2]["ids"] == {"lyon": "lyon 2", "milano": "milano 2"}
    assert [site["steps"] for site in stated["sites"]] == [12, 12]


@pytest.mark.parametrize(
    "key", ["schema", "unit", "adjacency", "guarantee", "trust", "mode", "public", "covered", "not_covered", "events"]
)
def test_a_statement_leaves_no_field_empty(ledger: dict[str, Any], key: str) -> None:
    assert ledger[key]


@pytest.mark.parametrize(
    "words",
    [
        "side channels",
        "relatives",
        "populations",
        "eligible",
        "two sites",
        "attacks",
        "dictionary",
        "floating",
        "score",
    ],
)
def test_what_is_not_covered_is_said(ledger: dict[str, Any], words: str) -> None:
    assert any(words in line for line in ledger["not_covered"])


@pytest.mark.parametrize("word", ["anonymous", "anonymised", "GDPR", "risk-free", "certified", "unbreakable", "safe"])
def test_words_that_claim_too_much_never_appear(ledger: dict[str, Any], word: str) -> None:
    assert word.lower() not in json.dumps(ledger).lower()


def test_each_public_number_names_where_it_was_declared(ledger: dict[str, Any]) -> None:
    declared = {entry["name"]: entry for entry in ledger["public"]}
    assert declared["expected_patients"]["value"] == 1600
    assert all(entry["declared_in"] for entry in declared.values())


def test_a_large_delta_is_called_large() -> None:
    stated = release_ledger(
        {"lyon": export("lyon", rounds())}, pipeline(privacy__delta=1e-3), simulated=False, seeded=False
    )
    assert any("delta 0.001" in line for line in stated["not_covered"])


def test_a_seeded_run_promises_nothing_and_says_what_its_plan_would_cost() -> None:
    stated = release_ledger({"lyon": export("lyon", rounds())}, pipeline(), simulated=True, seeded=True)
    assert stated["populations"]["train"]["epsilon"] is None
    assert stated["populations"]["train"]["epsilon_of_events"] == epsilon_of(rounds(), 1e-5)
    assert "no formal guarantee" in stated["guarantee"]
    assert "simulated" in stated["guarantee"]
    assert not stated["formal"]
    assert inconsistencies(stated) == []


def test_a_run_without_noise_promises_nothing() -> None:
    bare = {"lyon": export("lyon", rounds(noise=0.0))}
    stated = release_ledger(bare, pipeline(privacy__epsilon=math.inf), simulated=False, seeded=False)
    read = json.loads(json.dumps(stated, allow_nan=False))
    assert read["populations"]["train"]["epsilon"] is None
    assert read["populations"]["train"]["epsilon_of_events"] == "inf"
    assert "no formal guarantee" in read["guarantee"]
    assert recompute_epsilon(read) == math.inf
    assert inconsistencies(read) == []


def test_a_site_that_misses_a_charge_is_refused() -> None:
    with pytest.raises(LedgerBroken, match="charged 9 of the 12"):
        release_ledger({"lyon": export("lyon", rounds(), done=3)}, pipeline(), simulated=False, seeded=False)
    altered = export("lyon", rounds())
    del altered["events"][1]
    with pytest.raises(LedgerBroken, match="lyon"):
        release_ledger({"lyon": altered}, pipeline(), simulated=False, seeded=False)


def away(site: str, *rounds_away: int, steps: int = 3, closed: bool = True) -> dict[str, Any]:
    """The export of a site that was away from some rounds, or took fewer steps in one."""
    with Ledger.open(None, site=site, limit=Budget(math.inf, 1e-5)) as ledger:
        ledger.reserve(RUN, rounds())
        for number, event in enumerate(rounds()):
            if number not in rounds_away:
                ledger.charge(f"{site} {number}", RUN, event)
            elif steps < 3:
                ledger.charge(f"{site} {number}", RUN, dataclasses.replace(event, steps=steps))
        if closed:
            ledger.close(RUN)
        exported: dict[str, Any] = ledger.export(RUN)
        return exported


def four(**exports: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {site: export(site, rounds()) for site in ("lyon", "milano", "oslo", "berlin")} | exports


def test_a_site_that_was_away_costs_its_patients_less_and_the_release_as_much() -> None:
    reducible = pipeline(federation__max_missing=1)
    stated = release_ledger(four(oslo=away("oslo", 1, 2)), reducible, simulated=False, seeded=False)
    assert {site["site"]: site["steps"] for site in stated["sites"]}["oslo"] == 6
    assert stated["populations"]["train"]["epsilon"] == epsilon_of(rounds(), 1e-5)
    assert inconsistencies(stated) == []
    took_turns = four(oslo=away("oslo", 1), lyon=away("lyon", 2))
    assert release_ledger(took_turns, reducible, simulated=False, seeded=False)["formal"]


@pytest.mark.parametrize(
    ("exports", "missing", "words"),
    [
        (four(oslo=away("oslo", 1)), 0, "charged 9 of the 12"),
        (four(oslo=away("oslo", 1), lyon=away("lyon", 1)), 1, "lyon, oslo charged nothing for round 1"),
        (four(oslo=away("oslo", 1), lyon=away("lyon", 1)), 16, "1 of 4 may be missing"),
        (four(oslo=away("oslo", 1, steps=2)), 1, "charged a part of round 1"),
        (four(oslo=away("oslo", 1, closed=False)), 1, "has not closed its run"),
    ],
)
def test_an_absence_that_does_not_fit_is_a_missing_charge(exports: dict[str, Any], missing: int, words: str) -> None:
    with pytest.raises(LedgerBroken, match=words):
        release_ledger(exports, pipeline(federation__max_missing=missing), simulated=False, seeded=False)


def test_another_sites_ledger_and_no_ledger_are_refused() -> None:
    with pytest.raises(LedgerBroken, match="milano"):
        release_ledger({"lyon": export("milano", rounds())}, pipeline(), simulated=False, seeded=False)
    with pytest.raises(LedgerBroken, match="no site"):
        release_ledger({}, pipeline(), simulated=False, seeded=False)


def test_earlier_runs_in_an_export_count() -> None:
    with Ledger.open(None, site="lyon", limit=Budget(9.0, 1e-5)) as kept:
        for run in ("a" * 64, "b" * 64):
            kept.reserve(run, rounds())
            for number, event in enumerate(rounds()):
                kept.charge(f"{run} {number}", run, event)
        both, last = kept.export(), kept.export("b" * 64)
    whole = release_ledger({"lyon": both}, pipeline(), simulated=False, seeded=False)
    assert recompute_epsilon(whole) == epsilon_of([*rounds(), *rounds()], 1e-5)
    one = release_ledger({"lyon": last}, pipeline(), simulated=False, seeded=False)
    assert recompute_epsilon(one) == epsilon_of(rounds(), 1e-5)


def test_one_table_alone_gets_the_same_statement() -> None:
    alone = central_ledger(rounds(), pipeline(), site="lyon", simulated=False, seeded=False)
    assert recompute_epsilon(alone) == epsilon_of(rounds(), 1e-5)
    assert any("one site" in line for line in alone["not_covered"])
    with pytest.raises(BudgetRefused):
        central_ledger(rounds(noise=1.0), pipeline(), site="lyon", simulated=False, seeded=False)


def test_no_number_of_patients_enters(ledger: dict[str, Any]) -> None:
    text = json.dumps(ledger)
    assert '"rows"' not in text
    assert '"patients"' not in text


@pytest.mark.parametrize(
    "path",
    [
        ("events",),
        ("sites",),
        ("populations",),
        ("populations", "train", "delta"),
        ("events", 0, "noise_multiplier"),
        ("events", 0, "ids"),
        ("formal",),
        ("guarantee",),
    ],
)
def test_an_incomplete_statement_is_named_not_crashed_on(ledger: dict[str, Any], path: tuple[Any, ...]) -> None:
    broken = copy.deepcopy(ledger)
    place: Any = broken
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    assert inconsistencies(broken)


def test_a_population_without_a_stated_epsilon_is_found(ledger: dict[str, Any]) -> None:
    ledger["events"].append({**ledger["events"][0], "population": "holdout"})
    with pytest.raises(LedgerBroken, match="holdout"):
        recompute_epsilon(ledger)
    assert inconsistencies(ledger)


def counted(noise: float = 6.0) -> list[PrivacyEvent]:
    """A run that counts twice, then trains on samples, and scores on the hold-out."""
    return [
        PrivacyEvent("measure 0", "gaussian", "train", 1.0, noise, 1.0, 1),
        PrivacyEvent("measure 1", "gaussian", "train", 1.0, noise * 1.5, 1.0, 1),
        *(PrivacyEvent(f"round {index}", "gaussian", "train", 1.0, 2.0, 0.05, 3) for index in range(4)),
        PrivacyEvent("measure 0", "gaussian", "holdout", 1.0, 2.0, 1.0, 1),
    ]


def test_counting_sampling_and_holdout_are_stated_and_computed_again_per_population() -> None:
    exports = {site: export(site, counted(), done=7) for site in ("lyon", "milano")}
    stated = release_ledger(exports, pipeline(), simulated=False, seeded=False, planned=counted())
    read = json.loads(json.dumps(stated, allow_nan=False))
    assert inconsistencies(read) == []
    assert [event["purpose"] for event in read["events"]].count("measure 0") == 2
    assert read["populations"]["train"]["epsilon"] == epsilon_of(counted()[:6], 1e-5)
    assert read["populations"]["holdout"]["epsilon"] == epsilon_of(counted()[6:], 1e-5)
    assert recompute_epsilon(read) == max(epsilon_of(counted()[:6], 1e-5), epsilon_of(counted()[6:], 1e-5))
    for population in read["populations"].values():
        assert abs(population["second_opinion"]["relative_difference"]) < 0.01


@pytest.mark.parametrize(("done", "words"), [(6, "'measure 0' not whole"), (4, "'round 2' not whole")])
def test_a_missing_charge_of_any_kind_is_refused(done: int, words: str) -> None:
    with pytest.raises(LedgerBroken, match=words):
        release_ledger(
            {"lyon": export("lyon", counted(), done=done)},
            pipeline(),
            simulated=False,
            seeded=False,
            planned=counted(),
        )


def test_more_training_does_not_make_up_for_a_missing_count() -> None:
    """Steps are compared purpose by purpose: three more of one kind are not one of another."""
    events = [event for event in counted() if event.purpose != "measure 1"]
    more = [*events, dataclasses.replace(events[2], purpose="round 9")]
    with pytest.raises(LedgerBroken, match="'measure 1' not whole"):
        release_ledger(
            {"lyon": export("lyon", more, done=9)}, pipeline(), simulated=False, seeded=False, planned=counted()
        )


def in_shares(noise: float = 10.0) -> list[PrivacyEvent]:
    l2, l1 = rounded_sensitivity(1.0, 20, 5000)
    counts = PrivacyEvent("measure 0", "skellam", "train", 64.0, noise, 1.0, 1, 4096.0, sites=4, colluders=1)
    steps = [
        PrivacyEvent(f"round {index}", "skellam", "train", l2, noise, 1.0, 1, l1, sites=4, colluders=1)
        for index in range(12)
    ]
    return [counts, *steps]


@pytest.fixture
def shared() -> dict[str, Any]:
    exports = {site: export(site, in_shares(), done=13) for site in ("lyon", "milano", "oslo", "berlin")}
    stated = release_ledger(exports, pipeline(), simulated=False, seeded=False, planned=in_shares())
    read: dict[str, Any] = json.loads(json.dumps(stated, allow_nan=False))
    return read


def test_noise_in_shares_is_stated_with_both_epsilons_and_who_may_collude(shared: dict[str, Any]) -> None:
    stated = shared["populations"]["train"]
    assert stated["epsilon"] == epsilon_of(in_shares(), 1e-5)
    assert stated["epsilon_local"] == epsilon_alone(in_shares(), 1e-5) > 1.7 * stated["epsilon"]
    assert shared["mode"] == {"noise": "shared", "sites": 4, "colluders": 1}
    assert "Skellam" in stated["accountant"]
    assert "as large" in stated["second_opinion"]["name"]
    for words in (shared["trust"], shared["guarantee"]):
        assert f"{stated['epsilon']:.6g}" in words
        assert f"{stated['epsilon_local']:.6g}" in words
    assert any("drew its share" in line for line in shared["not_covered"])
    assert any("was opened" in line for line in shared["covered"])
    assert inconsistencies(shared) == []


def test_a_seeded_run_with_shares_promises_neither_epsilon() -> None:
    exports = {site: export(site, in_shares(), done=13) for site in ("lyon", "milano", "oslo", "berlin")}
    stated = release_ledger(exports, pipeline(), simulated=True, seeded=True, planned=in_shares())
    train = stated["populations"]["train"]
    assert (train["epsilon"], train["epsilon_local"]) == (None, None)
    assert train["epsilon_local_of_events"] == epsilon_alone(in_shares(), 1e-5)
    assert inconsistencies(stated) == []


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("populations", "train", "epsilon_local"), 0.1, "promise"),
        (("populations", "train", "epsilon_local_of_events"), 0.1, "epsilon_local"),
        (("events", 3, "colluders"), 0, "from the events"),
        (("events", 3, "l1_sensitivity"), 0.0, "l1_sensitivity"),
        (("events", 3, "mechanism"), "gaussian", "colluders|events"),
        (("mode", "colluders"), 3, "colluders"),
    ],
)
def test_a_share_that_was_altered_is_found(
    shared: dict[str, Any], path: tuple[Any, ...], value: object, words: str
) -> None:
    place: Any = shared
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert any(re.search(words, problem) for problem in inconsistencies(shared))


def test_leaving_out_the_epsilon_of_the_own_share_is_found(shared: dict[str, Any]) -> None:
    del shared["populations"]["train"]["epsilon_local_of_events"]
    assert any("epsilon_local" in problem for problem in inconsistencies(shared))


def test_a_statement_of_an_older_version_still_holds(ledger: dict[str, Any]) -> None:
    """There both epsilons were one number, and the events of normal noise are written as they were."""
    for stated in ledger["populations"].values():
        del stated["epsilon_local_of_events"]
    assert inconsistencies(ledger) == []
    assert set(ledger["events"][0]) == {
        "purpose",
        "mechanism",
        "population",
        "l2_sensitivity",
        "noise_multiplier",
        "sample_rate",
        "steps",
        "cost",
        "ids",
    }


HELD_OUT = PrivacyEvent("scoring held-out patients", "gaussian", "holdout", 1.0, 2.0, 1.0, 1)


def scored(sites: tuple[str, ...] = ("lyon", "milano"), done: int = 1, **changes: Any) -> dict[str, Any]:
    return release_ledger(
        {site: export(site, rounds()) for site in ("lyon", "milano")},
        pipeline(),
        simulated=False,
        seeded=False,
        scored={site: export(site, [HELD_OUT], done=done) for site in sites},
        scoring=[HELD_OUT],
        **changes,
    )


def test_scoring_is_charged_to_another_population_and_a_release_costs_the_larger() -> None:
    statement = scored()
    costs = {name: stated["epsilon"] for name, stated in statement["populations"].items()}
    assert costs == {"train": epsilon_of(rounds(), 1e-5), "holdout": epsilon_of([HELD_OUT], 1e-5)}
    assert {site["epsilon"] for site in statement["sites"]} == {max(costs.values())}
    assert recompute_epsilon(json.loads(json.dumps(statement))) == pytest.approx(max(costs.values()), abs=1e-6)
    assert inconsistencies(statement) == []
    assert "epsilon_holdout" in {entry["name"] for entry in statement["public"]}


def test_a_scoring_whose_charge_is_missing_is_not_stated() -> None:
    with pytest.raises(LedgerBroken, match="charged 0 of the 1 steps"):
        scored(done=0)
    with pytest.raises(LedgerBroken, match="what scoring cost"):
        scored(sites=("lyon",))


def test_exact_sums_are_said_to_be_outside_the_promise() -> None:
    statement = release_ledger(
        {"lyon": export("lyon", rounds())}, pipeline(), simulated=False, seeded=False, exact_sums=True
    )
    assert statement["exact_sums"] is True
    assert "no epsilon covers" in statement["guarantee"]
    assert set(statement["populations"]) == {"train"}
    assert inconsistencies(statement) == []
