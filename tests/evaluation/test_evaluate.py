import json

import numpy as np
import pandas as pd
import pytest

from synthfed.errors import DataError
from synthfed.evaluation.evaluate import evaluate
from synthfed.pipeline import EvaluationSettings
from synthfed.tables.rules import RuleSet
from synthfed.tables.schema import Schema
from tests.evaluation import cheats

REAL = cheats.tables(train=400, holdout=160, fresh=400, seed=9)


@pytest.fixture(scope="module")
def card():
    return cheats.score(REAL.fresh, REAL)


def test_row_order_does_not_matter(card):
    def turned(table: pd.DataFrame) -> pd.DataFrame:
        return table.sample(frac=1, random_state=3)

    other = cheats.score(turned(REAL.fresh), cheats.Tables(turned(REAL.train), turned(REAL.holdout), REAL.fresh))
    assert other.to_dict() == card.to_dict()


def test_likeness_alone_gives_the_same_scores_and_runs_no_attack(card):
    quick = cheats.score(REAL.fresh, REAL, likeness_only=True)
    assert {"faithful.association", "faithful.coverage", "survival.km_area"} <= {m.id for m in quick.metrics}
    assert not any(m.question == "private" for m in quick.metrics)
    assert all(card[m.id] == m for m in quick.metrics)


def test_of_a_large_table_likeness_sees_some_rows_and_copies_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthfed.evaluation.evaluate.MOST_ROWS", 100)
    copied = pd.concat([REAL.fresh.iloc[:-20], REAL.train.iloc[:20]], ignore_index=True)
    large = cheats.score(copied, REAL)
    assert large["faithful.association"].n == {"matched": 100}
    assert large["private.exact"].value > 0


def test_names_of_levels_do_not_matter(card):
    names = {"low": "z", "middle": "a", "high": "m"}
    raw = cheats.SCHEMA.to_dict()
    for column in raw["columns"]:
        column["levels"] = [names.get(level, level) for level in column["levels"]]
    schema = Schema.from_dict(raw)

    def renamed(table: pd.DataFrame) -> pd.DataFrame:
        return schema.cast(table.assign(risk=table["risk"].astype("object").map(names)))

    other = evaluate(
        renamed(REAL.fresh),
        schema=schema,
        rules=RuleSet.parse(cheats.RULES_TOML, schema),
        train=renamed(REAL.train),
        holdout=renamed(REAL.holdout),
        settings=cheats.SETTINGS,
        seed=0,
        privacy=cheats.PRIVACY,
    )
    told = [m.to_dict() for m in other.metrics]
    for metric in told:  # a level's own name is in the words of the group that keeps least
        for old, new in names.items():
            metric["reason"] = metric["reason"].replace(f"risk={new},", f"risk={old},")
    assert told == [m.to_dict() for m in card.metrics]


def test_scorecard_is_plain_json_without_nan(card):
    text = json.dumps(card.to_dict(), allow_nan=False, sort_keys=True)
    assert json.loads(text)["schema"] == "synthfed.scorecard/1"
    for metric in card.to_dict()["metrics"]:
        assert metric["value"] is not None or metric["reason"]


def test_figures_follow_the_contract(card):
    figures = card.figures
    assert set(figures) == {"marginals", "associations", "survival", "membership", "risks", "anchors"}
    scores = [entry["score"] for entry in figures["marginals"]]
    assert scores == sorted(scores)
    for entry in figures["marginals"]:
        cells = entry.get("edges", entry.get("levels"))
        assert len(entry["synthetic"]) == len(cells) + (0 if "edges" in entry else 1)
        assert sum(entry["synthetic"]) == pytest.approx(1, abs=0.01)
    matrix = np.array(figures["associations"]["real"], dtype=float)
    assert matrix.shape == (15, 15)
    np.testing.assert_array_equal(matrix, matrix.T)
    assert {curve["group"] for curve in figures["survival"]} >= {"all", "risk=high"}
    assert all(len(curve["synthetic"]["days"]) <= 64 for curve in figures["survival"])
    assert len(figures["membership"]["fpr"]) <= 64
    assert set(figures["membership"]["point"]) == {"fpr", "tpr", "sentence"}


def test_without_real_rows_nothing_real_is_scored():
    card = cheats.score(REAL.fresh, REAL, train=None, holdout=0)
    assert {metric.rows_used for metric in card.metrics} == {"none"}
    assert card.lights["valid"] == "green"
    assert card.lights["private"] == "grey"
    assert all(entry["real"] is None and entry["score"] is None for entry in card.figures["marginals"])
    assert card.figures["associations"]["real"] is None
    assert card.figures["membership"] is None
    assert all(curve["real"] is None for curve in card.figures["survival"])


def test_progress_names_every_stage():
    stages: list[str] = []
    cheats.score(REAL.fresh.iloc[:150], REAL, progress=stages.append, settings=EvaluationSettings())
    assert stages[0] == "rules"
    assert {"columns and pairs", "survival", "copies", "membership", "figures"} <= set(stages)


def test_a_table_outside_its_dictionary_is_scored_not_refused():
    broken = REAL.fresh.drop(columns=["hb"]).assign(age_years=900.0)
    card = cheats.score(broken, REAL, settings=EvaluationSettings())
    assert card.lights["valid"] == "red"
    assert card["valid.structure"].value < 0.9
    shapes = {entry["column"]: entry["score"] for entry in card.figures["marginals"]}
    assert shapes["hb"] == 0


def test_text_where_numbers_belong_is_scored_not_refused():
    words = REAL.fresh.astype({"hb": "object"}).assign(hb="ten")
    assert cheats.score(words, REAL, train=None, holdout=0).lights["valid"] == "red"


def test_a_table_without_rows_is_refused():
    with pytest.raises(DataError, match="no rows"):
        cheats.score(REAL.fresh.iloc[:0], REAL)


@pytest.mark.parametrize("rows", [1, 5])
def test_a_handful_of_synthetic_rows_is_no_error(rows):
    card = cheats.score(REAL.fresh.iloc[:rows], REAL)
    assert card["faithful.association"].light == "grey"


@pytest.mark.parametrize("kinds", [("continuous", "count"), ("flag", "category")])
def test_a_schema_of_one_kind_is_enough(kinds):
    columns = [c for c in cheats.SCHEMA.columns if c.kind in kinds]
    schema = Schema("toy", tuple(columns))
    card = evaluate(
        REAL.fresh[list(schema.names)],
        schema=schema,
        rules=RuleSet.parse({}, schema),
        train=REAL.train[list(schema.names)],
        holdout=REAL.holdout[list(schema.names)],
        settings=EvaluationSettings(),
        seed=0,
        privacy=cheats.PRIVACY,
    )
    assert card["faithful.shapes"].light == "green"
    assert not card.figures["survival"]


def test_a_column_that_is_always_missing_is_no_error():
    def without(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(
            ldh=pd.array([pd.NA] * len(table), dtype="Int64"), TP53=pd.array([pd.NA] * len(table), dtype="Int64")
        )

    real = cheats.Tables(without(REAL.train), without(REAL.holdout), without(REAL.fresh))
    card = cheats.score(real.fresh, real, settings=EvaluationSettings())
    assert card["faithful.shapes"].value is not None
