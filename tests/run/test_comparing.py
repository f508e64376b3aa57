"""A comparison says who wins, ties and fails by rules fixed before, keeps what is done, and spends only if told to."""

import contextlib
import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synthfed.cohorts.sites import Cohort, load_cohort
from synthfed.errors import BudgetRefused, ConfigError, DossierError, TooFewSites, TrainingError, UnreadableFile
from synthfed.pipeline import Pipeline
from synthfed.run.comparing import KINDS, Cell, Comparison, Measure, Score, compare, cost_of_comparison
from synthfed.run.comparing.kinds import plan_cells
from synthfed.run.comparing.pages import as_markdown, recommendation, verdict
from synthfed.run.comparing.running import first_sentence
from synthfed.run.training import LedgerHome

if TYPE_CHECKING:
    from synthfed.federation.in_process import RoundDone

SMOKE = Pipeline.load("smoke")
MEASURES = (
    Measure("faithful.association", "pairs together", "higher", decides=True),
    Measure("survival.km_area", "curves", "lower"),
    Measure("private.membership", "found", "lower"),
)


@pytest.fixture(scope="module")
def hospitals() -> Cohort:
    return load_cohort("aml", sites=3, patients=300, seed=7, columns=SMOKE.cohort.columns, holdout_fraction=0.3)


def score(value: float, floor: float | None = 0.0, *, low: float = 0.85, high: float = 0.95) -> Score:
    return Score(value, floor, 0.9, low, high)


def comparison(**associations: list[float]) -> Comparison:
    """Kinds with one association per seed, and nothing else measured."""
    seeds = max(len(values) for values in associations.values())
    cells = tuple(
        Cell(kind, 3.0, 7 + index, {"faithful.association": score(value)}, 3.0, 3.0, 2, 1.0, 10)
        for kind, values in associations.items()
        for index, value in enumerate(values)
    )
    return Comparison(
        "aml",
        "AML",
        "0" * 64,
        "0.1.0",
        "simulated",
        True,
        3,
        1e-5,
        tuple(associations),
        (3.0,),
        tuple(range(7, 7 + seeds)),
        MEASURES[:1],
        cells,
    )


# --- who wins ---------------------------------------------------------------------------------------------------------


def test_a_clear_lead_wins() -> None:
    found = comparison(marginal=[0.80, 0.82], tvae=[0.60, 0.62])
    assert found.winner("faithful.association") == "marginal"
    assert found.best("faithful.association", 3.0) == ("marginal",)


def test_a_lead_below_the_seed_range_is_a_tie() -> None:
    found = comparison(marginal=[0.70, 0.80], tvae=[0.71, 0.73])
    assert found.winner("faithful.association") is None
    assert found.best("faithful.association", 3.0) == ("marginal", "tvae")


def test_one_wild_kind_makes_no_tie_of_a_lead_between_steady_ones() -> None:
    found = comparison(marginal=[0.80, 0.81], tvae=[0.70, 0.71], ctgan=[0.1, 0.6])
    assert found.winner("faithful.association") == "marginal"


def test_a_wild_leader_ties_with_those_in_its_range() -> None:
    found = comparison(marginal=[0.70, 0.71], tvae=[0.60, 0.61], ctgan=[0.6, 0.89])
    assert found.best("faithful.association", 3.0) == ("ctgan", "marginal", "tvae")


def test_closer_than_fresh_patients_is_no_merit() -> None:
    assert comparison(marginal=[0.91], tvae=[0.99]).winner("faithful.association") is None


def test_a_measure_on_which_shuffled_columns_pass_has_no_winner() -> None:
    found = comparison(marginal=[0.90], tvae=[0.60])
    cells = tuple(
        dataclasses.replace(c, scores={k: dataclasses.replace(s, floor=0.86) for k, s in c.scores.items()})
        for c in found.cells
    )
    assert dataclasses.replace(found, cells=cells).best("faithful.association", 3.0) == ()


def test_without_a_floor_everything_inside_the_band_is_as_good() -> None:
    found = comparison(marginal=[0.86], tvae=[0.94], ctgan=[0.70])
    cells = tuple(
        dataclasses.replace(c, scores={k: dataclasses.replace(s, floor=None) for k, s in c.scores.items()})
        for c in found.cells
    )
    assert dataclasses.replace(found, cells=cells).best("faithful.association", 3.0) == ("marginal", "tvae")


def test_lower_is_better_where_the_measure_says_so() -> None:
    found = comparison(marginal=[0.1], tvae=[0.2])
    cells = tuple(
        Cell(c.kind, 3.0, 7, {"survival.km_area": Score(c.scores["faithful.association"].value, 0.5, 0.02, 0.01, 0.05)})
        for c in found.cells
    )
    assert dataclasses.replace(found, cells=cells, measures=MEASURES).winner("survival.km_area") == "marginal"


def test_an_unknown_measure_is_an_error() -> None:
    with pytest.raises(KeyError):
        comparison(marginal=[0.1]).winner("faithful.beauty")


def test_a_kind_that_failed_once_is_never_recommended() -> None:
    found = comparison(marginal=[0.5, 0.5], tvae=[0.8, 0.8])
    failed = dataclasses.replace(found.cells[3], scores={}, failure="the roof fell in")
    found = dataclasses.replace(found, cells=(*found.cells[:3], failed))
    assert found.recommended(3.0) == "marginal"
    assert "tvae failed (seed 8): the roof fell in" in verdict(found)[0]


def test_nothing_is_recommended_that_stays_near_shuffled_columns() -> None:
    assert recommendation(comparison(marginal=[0.20], tvae=[0.10])) == "recommended: none (marginal is least bad)"
    assert recommendation(comparison(marginal=[0.60], tvae=[0.10])) == "recommended: marginal"


def test_among_equals_the_quicker_is_recommended() -> None:
    found = comparison(tvae=[0.80], marginal=[0.80])
    slow = dataclasses.replace(found.cells[0], seconds=60.0)
    assert dataclasses.replace(found, cells=(slow, found.cells[1])).recommended(3.0) == "marginal"


def test_json_holds_all_of_it() -> None:
    found = comparison(marginal=[0.80, 0.82], tvae=[0.60, 0.62])
    endless = dataclasses.replace(
        found,
        epsilons=(math.inf,),
        cells=tuple(dataclasses.replace(c, epsilon=math.inf, epsilon_spent=math.inf) for c in found.cells),
    )
    for each in (found, endless):
        assert Comparison.from_json(each.to_json()) == each
    assert json.loads(found.to_json())["schema"] == "synthfed.comparison/1"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": "synthfed.report/1"}', '{"schema": "synthfed.comparison/1"}']
)
def test_other_files_are_refused(text: str) -> None:
    with pytest.raises(UnreadableFile, match=r"synthfed\.comparison/1"):
        Comparison.from_json(text)


def test_the_first_sentence_leaves_advice_out() -> None:
    assert first_sentence("a tvae does not start; set generator.start = 'cold'") == "a tvae does not start"
    assert first_sentence("epsilon = 0.5 is little. Raise it") == "epsilon = 0.5 is little"


# --- what is run ------------------------------------------------------------------------------------------------------


def test_every_kind_is_a_pipeline_of_its_own() -> None:
    planned = list(plan_cells(SMOKE, KINDS, (1.0, 3.0), 2))
    assert len({cell.pipeline.digest() for cell in planned}) == len(planned) == 4 * len(KINDS)
    assert {cell.pipeline.cohort for cell in planned} == {SMOKE.cohort}
    assert {cell.seed for cell in planned} == {7, 8}
    assert {cell.kind for cell in planned[: len(KINDS)]} == set(KINDS)


@pytest.mark.parametrize(
    ("kinds", "epsilons", "seeds"),
    [(["gan"], [1], 1), ([], [1], 1), (["tvae"] * 2, [1], 1), (["tvae"], [-1], 1), (["tvae"], [1], 0)],
)
def test_what_cannot_be_compared_is_refused(kinds: list[str], epsilons: list[float], seeds: int) -> None:
    with pytest.raises(ConfigError):
        list(plan_cells(SMOKE, kinds, epsilons, seeds))


def test_kinds_are_scored_on_the_same_patients_and_kept(hospitals: Cohort, tmp_path: Path) -> None:
    """One real run through the federation: marginal and a cold network; then a third kind joins what is finished."""
    found = compare("smoke", hospitals, kinds=["marginal", "tvae-cold"], seeds=1, out=tmp_path / "out")
    cells = {cell.kind: cell for cell in found.cells}
    assert {cell.failure for cell in found.cells} == {""}
    ceilings = [{name: score.ceiling for name, score in cell.scores.items()} for cell in found.cells]
    assert ceilings[0] == ceilings[1]
    assert cells["marginal"].rounds == 2
    assert cells["tvae-cold"].rounds == SMOKE.federation.rounds
    assert all(9.9 < (cell.epsilon_spent or 0) <= 10 and cell.bytes_moved > 0 for cell in found.cells)
    assert all(word in found.table() for word in ("association", "fresh patients", "shuffled", "tvae-cold", "MB moved"))
    assert "| association ↑ |" in as_markdown(found, picture="smoke.png")

    seen: list[str] = []

    class Listener:
        def stage(self, name: str, detail: str = "") -> None:
            seen.append(f"{name} {detail}")

        def round_done(self, done: object) -> None:
            seen.append("round")

        def step(self, name: str) -> None:
            """Nothing to show."""

    with pytest.raises(DossierError, match="--resume"):
        compare("smoke", hospitals, kinds=["marginal"], seeds=1, out=tmp_path / "out")
    again = compare(
        "smoke",
        hospitals,
        kinds=["tvae-cold", "marginal"],
        seeds=1,
        out=tmp_path / "out",
        resume=True,
        progress=Listener(),
    )
    assert "round" not in seen
    assert sum("kept from before" in line for line in seen) == 2
    assert {c.kind: c.scores.keys() for c in again.cells} == {c.kind: c.scores.keys() for c in found.cells}
    with pytest.raises(DossierError, match="another pipeline"):
        compare(SMOKE.replace(privacy__clip_norm=2.0), hospitals, seeds=1, out=tmp_path / "out", resume=True)
    with pytest.raises(DossierError, match="nothing to resume"):
        compare("smoke", hospitals, seeds=1, out=tmp_path / "elsewhere", resume=True)


def test_a_kind_that_fails_is_shown_and_the_others_run(
    hospitals: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synthfed.run.comparing import running

    real = running.train

    def broken(pipeline: Pipeline, *words: object, **named: object) -> object:
        if pipeline.generator.kind == "tvae":
            raise TrainingError("the decoder is out of order; use another")
        return real(pipeline, *words, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(running, "train", broken)
    found = compare("smoke", hospitals, kinds=["tvae-cold", "marginal"], seeds=1, out=tmp_path)
    assert [cell.failure for cell in found.cells] == ["the decoder is out of order", ""]
    assert "tvae-cold failed (seed 7): the decoder is out of order" in found.table()
    assert [file.name for file in (tmp_path / "cells").iterdir()] == ["marginal-epsilon-10-seed-7.json"]


def test_a_stopped_run_goes_on_after_its_last_finished_round(hospitals: Cohort, tmp_path: Path) -> None:
    rounds: list[int] = []

    class Stopper:
        def stage(self, name: str, detail: str = "") -> None:
            """Nothing to show."""

        def round_done(self, done: "RoundDone") -> None:
            rounds.append(done.round_index)
            if rounds == [0, 1]:
                raise KeyboardInterrupt

        def step(self, name: str) -> None:
            """Nothing to show."""

    for resume in (False, True):
        with contextlib.suppress(KeyboardInterrupt):
            found = compare(
                "smoke", hospitals, kinds=["tvae-cold"], seeds=1, out=tmp_path, resume=resume, progress=Stopper()
            )
    assert rounds[:2] == [0, 1]
    assert rounds[-1] == SMOKE.federation.rounds - 1
    assert rounds.count(0) == 1
    assert [cell.failure for cell in found.cells] == [""]
    assert not (tmp_path / "unfinished").exists()


def test_patients_that_fit_no_kind_stop_the_comparison(hospitals: Cohort) -> None:
    two = dataclasses.replace(hospitals, sites=dict(list(hospitals.sites.items())[:2]))
    with pytest.raises(TooFewSites):
        compare("smoke", two, kinds=["marginal"], seeds=1)


# --- real patients ----------------------------------------------------------------------------------------------------


def as_patients(cohort: Cohort) -> Cohort:
    return dataclasses.replace(cohort, simulated=False, origin="a table")


def test_real_patients_are_not_touched_before_the_price_is_agreed_to(hospitals: Cohort, tmp_path: Path) -> None:
    ledgers = LedgerHome(tmp_path / "sites", math.inf)
    kinds = ["marginal", "tvae-cold"]
    with pytest.raises(ConfigError, match=r"4 runs of their own, which together cost .* epsilon 2\d\.\d\d") as error:
        compare("smoke", as_patients(hospitals), kinds=kinds, seeds=2, ledgers=ledgers)
    assert "--spend" in str(error.value)
    assert not (tmp_path / "sites").exists()
    with pytest.raises(ConfigError, match="lasting ledgers"):
        compare("smoke", as_patients(hospitals), kinds=kinds, spend=True)


def test_the_price_is_what_the_ledgers_then_hold(hospitals: Cohort, tmp_path: Path) -> None:
    ledgers = LedgerHome(tmp_path / "sites", math.inf)
    planned = list(plan_cells(SMOKE, ["marginal"], [2.0], 2))
    cost = cost_of_comparison(planned, hospitals)
    found = compare(
        "smoke",
        as_patients(hospitals),
        kinds=["marginal"],
        epsilons=[2.0],
        seeds=2,
        spend=True,
        ledgers=ledgers,
        out=tmp_path / "out",
    )
    assert cost.runs == 2
    assert 2.0 < cost.epsilon < 4.0
    assert found.cells[-1].spent_over_runs == pytest.approx(cost.epsilon, rel=1e-6)
    assert "Stays at the site" in (tmp_path / "out" / "README.txt").read_text()
    assert "stay with the data holder" in found.table()


def test_shared_noise_has_two_prices(hospitals: Cohort) -> None:
    shared = SMOKE.replace(federation__noise="shared", federation__local_steps=1)
    cost = cost_of_comparison(plan_cells(shared, ["marginal"], [2.0], 2), hospitals)
    assert 2.0 < cost.epsilon < cost.epsilon_local
    assert f"({cost.epsilon_local:.2f} against all other sites)" in str(cost)


def test_ledgers_without_room_for_all_runs_refuse_the_first(hospitals: Cohort, tmp_path: Path) -> None:
    ledgers = LedgerHome(tmp_path / "sites", 11.0)
    with pytest.raises(BudgetRefused, match="the limit over all runs is 11"):
        compare("smoke", as_patients(hospitals), kinds=["marginal"], seeds=2, spend=True, ledgers=ledgers)
    assert not (tmp_path / "sites").exists()


# --- the picture ------------------------------------------------------------------------------------------------------


def test_the_picture_is_the_same_bytes_for_the_same_comparison() -> None:
    from synthfed.run.comparing.picture import draw

    found = comparison(marginal=[0.80, 0.82], tvae=[0.60, 0.62])
    first = draw(found)
    assert first.startswith(b"\x89PNG")
    assert draw(found) == first
