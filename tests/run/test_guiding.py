"""Drawn patients carry the groups that the generator meant, as often and with the survival it meant."""

import numpy as np
import pandas as pd
import pytest

from synthfed.run.guiding import Codes, draw_guided
from synthfed.tables.guides import with_guides
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


def drawn(rows: int = 4000, seed: int = 1) -> pd.DataFrame:
    return draw_guided(sample, finish, GUIDED, rows=rows, seed=seed)


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

    table = draw_guided(sample, never, GUIDED, rows=200, seed=1)
    assert len(table) == 200
    assert (table["risk"] == "low").all()


def test_without_a_guide_it_is_one_draw():
    seen = []

    def once(rows: int, seed: int) -> Codes:
        seen.append(rows)
        return np.zeros((rows, len(PLAIN.names)), dtype=np.int32)

    draw_guided(once, lambda codes, seed: PLAIN.decode(codes, np.random.default_rng(seed)), PLAIN, rows=50, seed=1)
    assert seen == [50]
