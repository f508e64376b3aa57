"""Chosen patients fulfil what was asked, follow from the seed alone, and a hopeless wish ends with its numbers."""

from pathlib import Path

import pandas as pd
import pytest

import synthfed as sf
from synthfed.run import drawing
from synthfed.run.selection import TooRare, draw_selected
from synthfed.tables.where import ConditionError
from tests.run.models import untrained

FEW = 40


@pytest.fixture(scope="module", params=["tvae", "ctgan", "marginal"])
def fitted(request: pytest.FixtureRequest) -> sf.Synthesizer:
    return untrained(request.param)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "PIECE", 500)
    monkeypatch.setattr(drawing, "LARGEST_DRAW", 700)


def test_every_chosen_patient_fulfils_the_condition_and_every_hard_rule(
    fitted: sf.Synthesizer, small_pieces: None
) -> None:
    table = fitted.sample(FEW, seed=3, where="eln2022 == 'adverse' and age_years >= 60 and os_event is known")
    assert len(table) == FEW
    assert (table["eln2022"] == "adverse").all()
    assert (table["age_years"] >= 60).all()
    assert table["os_event"].notna().all()
    broken = fitted.rules.check(table)
    assert not any(broken[rule.id].any() for rule in fitted.rules.hard)
    assert table["patient_id"].is_unique
    assert list(table.columns) == list(fitted.schema.names)
    assert all(table[name].dtype == fitted.schema.dtype(name) for name in table.columns)


def test_the_seed_decides_and_a_longer_table_starts_with_the_shorter(
    fitted: sf.Synthesizer, small_pieces: None
) -> None:
    def chosen(rows: int, seed: int) -> pd.DataFrame:
        return fitted.sample(rows, seed=seed, where="sex == female").drop(columns="patient_id")

    long = chosen(900, 3)
    pd.testing.assert_frame_equal(chosen(7, 3), long.head(7))
    assert not long.equals(chosen(900, 4))


def test_balance_gives_every_level_equally_many(fitted: sf.Synthesizer, small_pieces: None) -> None:
    table = fitted.sample(FEW + 1, seed=3, balance="sex", where="age_years < 90")
    assert table["sex"].value_counts().to_dict() == {"male": FEW // 2 + 1, "female": FEW // 2}
    assert (table["age_years"] < 90).all()
    flags = fitted.sample(FEW, seed=3, balance="TP53")
    assert flags["TP53"].value_counts().to_dict() == {0: FEW // 2, 1: FEW // 2}


def test_balance_passes_over_levels_that_the_condition_rules_out(fitted: sf.Synthesizer, small_pieces: None) -> None:
    table = fitted.sample(20, seed=3, balance="eln2022", where="eln2022 in (favorable, adverse)")
    assert table["eln2022"].value_counts()[lambda counts: counts > 0].to_dict() == {"favorable": 10, "adverse": 10}


def test_selection_reads_the_saved_model_and_nothing_else(
    fitted: sf.Synthesizer, small_pieces: None, tmp_path: Path
) -> None:
    """Post-processing: the file holds no row and the ledger gains no entry, yet the table is the same."""
    table = fitted.sample(FEW, seed=3, where="age_years >= 50", balance="sex")
    fitted.save(tmp_path / "model.synthfed")
    loaded = sf.Synthesizer.load(tmp_path / "model.synthfed")
    pd.testing.assert_frame_equal(loaded.sample(FEW, seed=3, where="age_years >= 50", balance="sex"), table)
    assert fitted.trained.ledger == {"events": [], "sites": []}


def test_a_kind_that_never_appears_ends_early_and_says_so(fitted: sf.Synthesizer, small_pieces: None) -> None:
    drawn: list[int] = []
    with pytest.raises(TooRare, match=r"never appear among [\d,]+ drawn.*2,000 were wanted.*loosen the condition"):
        fitted.sample(
            2000, where="age_years >= 60 and age_years < 60", progress=lambda kept, tried: drawn.append(tried)
        )
    assert drawn[-1] < 10_000


def test_too_few_are_counted_in_the_refusal(fitted: sf.Synthesizer, small_pieces: None) -> None:
    with pytest.raises(TooRare, match=r"are \d+ \(.* of all\) among .* at most 1,000 draws: ask for at most \d+"):
        draw_selected(
            fitted.trained, fitted.rules, rows=2000, seed=1, where="sex == male and age_years >= 40", most=1000
        )


def test_a_level_that_never_appears_is_named(fitted: sf.Synthesizer, small_pieces: None) -> None:
    with pytest.raises(TooRare, match=r"sex = 'male'.*never appear.*leave the level out.*`sex != 'male'`"):
        fitted.sample(4000, balance="sex", where="sex == female or age_years is missing")


def test_balance_needs_levels_and_at_least_one_left(fitted: sf.Synthesizer) -> None:
    with pytest.raises(ConditionError, match="such are: sex"):
        fitted.sample(10, balance="age_years")
    with pytest.raises(ConditionError, match="such are"):
        fitted.sample(10, balance="weather")
    with pytest.raises(ConditionError, match="rules out every level"):
        fitted.sample(10, balance="sex", where="sex is missing")


def test_many_rows_are_drawn_piece_by_piece(fitted: sf.Synthesizer, small_pieces: None) -> None:
    table = fitted.sample(1234, seed=2)
    assert len(table) == 1234
    assert table["patient_id"].is_unique
    pd.testing.assert_frame_equal(fitted.sample(1234, seed=2), table)
    drop = {"columns": "patient_id"}
    pd.testing.assert_frame_equal(fitted.sample(800, seed=2).drop(**drop), table.head(800).drop(**drop))
    assert fitted.sample(500, seed=2).shape == (500, table.shape[1])


def test_progress_counts_up_to_the_wanted_rows(fitted: sf.Synthesizer, small_pieces: None) -> None:
    said: list[tuple[int, int]] = []
    fitted.sample(600, seed=2, where="age_years >= 18", progress=lambda kept, drawn: said.append((kept, drawn)))
    assert said == [(500, 500), (600, 1200)]


@pytest.mark.slow
def test_a_million_drawn_patients_break_no_hard_rule() -> None:
    synth = untrained("marginal")
    rules = synth.rules
    drawn = 0
    for piece in drawing.stream(synth.trained, rules, seed=11):
        broken = rules.check(piece)
        assert not any(broken[rule.id].any() for rule in rules.hard)
        drawn += len(piece)
        if drawn >= 1_000_000:
            break
