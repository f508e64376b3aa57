"""Drawn patients carry the groups that the generator meant, as often and with the survival it meant."""

import numpy as np
import pandas as pd
import pytest

from synthfed.cohorts.sites import load_cohort
from synthfed.pipeline import Pipeline
from synthfed.run.drawing import patients_of
from synthfed.run.guiding import Codes, Foresight, Mask, draw_guided
from synthfed.run.training import train_one_site
from synthfed.tables.guides import guide_blocks, with_guides
from synthfed.tables.rules import RuleSet
from synthfed.tables.schema import Column, Schema, Survival
from synthfed.tables.transform import public_transformer

SCHEMA = Schema(
    "toy",
    (
        Column("gene_a", "flag", missing="never"),
        Column("gene_b", "flag", missing="never"),
        Column("risk", "category", levels=("low", "high"), derived=True, missing="never"),
        Column("os_days", "count", lower=1, upper=7300, knots=(365.0, 730.0), missing="never"),
        Column("os_event", "flag", missing="never"),
    ),
    (Survival("os", "os_days", "os_event", primary=True),),
)
GUIDED = public_transformer(with_guides(SCHEMA, ["risk"]))
PLAIN = public_transformer(SCHEMA)


def sample(rows: int, seed: int) -> Codes:
    """High risk dies early; genes know nothing of risk, as in a generator that saw each beside survival alone."""
    rng = np.random.default_rng(seed)
    high = rng.random(rows) < 0.3
    early = rng.random(rows) < np.where(high, 0.9, 0.2)
    columns = {
        "gene_a": rng.random(rows) < 0.4,
        "gene_b": rng.random(rows) < 0.3,
        "risk": high,
        "os": np.where(early, 1, 4),
    }
    return np.column_stack([columns[name] for name in GUIDED.names]).astype(np.int32)


def finish(codes: Codes, seed: int) -> pd.DataFrame:
    """The rule: high risk is gene A without gene B."""
    table = GUIDED.decode(codes, np.random.default_rng(seed))
    high = (table["gene_a"] == 1) & (table["gene_b"] == 0)
    return SCHEMA.cast(table.assign(risk=np.where(high, "high", "low")))


def foresee(codes: Codes) -> Mask:
    gene_a, gene_b, risk = (codes[:, GUIDED.names.index(name)] == 1 for name in ("gene_a", "gene_b", "risk"))
    return (gene_a & ~gene_b) == risk


def drawn(rows: int = 4000, seed: int = 1) -> pd.DataFrame:
    return draw_guided(sample, finish, GUIDED, foresee, rows=rows, seed=seed).table


def early(table: pd.DataFrame, risk: str) -> float:
    chosen = table[table["risk"] == risk]
    return float((chosen["os_days"] < 365).mean())


def test_the_rule_has_the_last_word_in_every_row():
    table = drawn()
    assert ((table["risk"] == "high") == ((table["gene_a"] == 1) & (table["gene_b"] == 0))).all()
    assert len(table) == 4000


def test_groups_are_as_common_and_fare_as_the_generator_meant():
    table = drawn()
    assert (table["risk"] == "high").mean() == pytest.approx(0.3, abs=0.03)
    assert early(table, "high") == pytest.approx(0.9, abs=0.05)
    assert early(table, "low") == pytest.approx(0.2, abs=0.05)


def test_without_guides_the_groups_would_fare_alike():
    """What is mended: the rule alone gives both groups the survival of everybody."""
    table = finish(sample(4000, 1), 1)
    assert early(table, "high") == pytest.approx(early(table, "low"), abs=0.05)


def test_patients_who_agreed_at_once_stay_in_their_place():
    first, table = finish(sample(300, 5), 5), drawn(300, 5)
    meant = np.where(sample(300, 5)[:, GUIDED.names.index("risk")] == 1, "high", "low")
    agreed = (first["risk"] == meant).to_numpy()
    pd.testing.assert_frame_equal(table[agreed], first[agreed])


def test_the_same_seed_draws_the_same_table():
    pd.testing.assert_frame_equal(drawn(500, 2), drawn(500, 2))
    assert not drawn(500, 2).equals(drawn(500, 3))


def test_a_group_that_cannot_be_had_keeps_what_its_rule_says():
    def never(codes: Codes, seed: int) -> pd.DataFrame:
        return finish(codes, seed).assign(risk="low")

    guided = draw_guided(sample, never, GUIDED, foresee, rows=200, seed=1)
    assert len(guided.table) == 200
    assert (guided.table["risk"] == "low").all()
    assert guided.unmet == (sample(200, 1)[:, GUIDED.names.index("risk")] == 1).sum()


def test_what_was_not_foreseen_is_mended():
    """Nothing is foreseen here, so the first draw is finished as it is, and then mended where it disagrees."""

    def blind(codes: Codes) -> Mask:
        return np.ones(len(codes), dtype=bool)

    guided = draw_guided(sample, finish, GUIDED, blind, rows=4000, seed=1)
    first = finish(sample(4000, 1), 1)
    meant = np.where(sample(4000, 1)[:, GUIDED.names.index("risk")] == 1, "high", "low")
    assert guided.again == (first["risk"] != meant).sum()
    assert guided.unmet == (guided.table["risk"] != meant).sum()
    assert guided.unmet < 0.4 * guided.again


def test_every_patient_that_disagreed_is_counted_once():
    guided = draw_guided(sample, finish, GUIDED, foresee, rows=4000, seed=1)
    assert guided.again == (~foresee(sample(4000, 1))).sum()
    assert guided.unmet <= 4


def test_without_a_guide_it_is_one_draw():
    seen = []

    def once(rows: int, seed: int) -> Codes:
        seen.append(rows)
        return np.zeros((rows, len(PLAIN.names)), dtype=np.int32)

    def decoded(codes: Codes, seed: int) -> pd.DataFrame:
        return PLAIN.decode(codes, np.random.default_rng(seed))

    guided = draw_guided(once, decoded, PLAIN, foresee, rows=50, seed=1)
    assert seen == [50]
    assert guided.again == 0


BAND = {
    "id": "band",
    "kind": "band",
    "class": "hard",
    "columns": ["stage"],
    "of": "size",
    "edges": [40],
    "source": "made up",
    "note": "Small below 40.",
}
NOT_BOTH = {
    "id": "either",
    "kind": "implies",
    "class": "hard",
    "when": {"gene_a": 1},
    "then": {"gene_b": 0},
    "source": "made up",
    "note": "Never both.",
}
BANDED = Schema(
    "banded",
    (
        Column("gene_a", "flag", missing="never"),
        Column("gene_b", "flag", missing="never"),
        Column("size", "count", lower=0, upper=99, knots=(20.0, 40.0, 60.0), missing="never"),
        Column("stage", "category", levels=("small", "large"), derived=True, missing="never"),
    ),
)


def test_foresight_follows_the_rules_back_and_remembers():
    rules = RuleSet.parse({"rule": [BAND, NOT_BOTH]}, BANDED)
    encoder = public_transformer(with_guides(BANDED, ["stage"]))
    rng = np.random.default_rng(0)
    codes = np.column_stack([rng.integers(0, width, 500) for width in encoder.widths]).astype(np.int32)
    small = codes[:, encoder.names.index("size")] < 2
    foreseen = Foresight(encoder, rules)
    wanted = np.where(small, 0, 1) == codes[:, guide_blocks(encoder)[0]]
    np.testing.assert_array_equal(foreseen(codes), wanted)
    np.testing.assert_array_equal(foreseen(codes[::-1]), wanted[::-1])


def test_what_is_foreseen_of_a_model_comes_true_almost_always():
    """Of simulated AML with ELN 2022 as guide: the rest is mended, and hardly anybody is left."""
    pipeline = Pipeline.load("aml").replace(generator__kind="marginal", privacy__expected_patients=300)
    cohort = load_cohort("aml", sites=["one"], patients=400, seed=3).select(pipeline.cohort.columns)
    trained = train_one_site(pipeline, cohort)
    guided = patients_of(trained, cohort.rules)(2000, 5)
    assert 100 < guided.again < 1500
    assert guided.unmet < 0.02 * len(guided.table)
