"""Numbers are read exactly as written once the decimal mark is said; everything else is refused."""

from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.tables.numbers import is_unclear, read_exact


def read(*texts: str, mark: str = ",", missing: tuple[str, ...] = ()) -> tuple[list[Decimal | None], list[bool]]:
    numbers = read_exact(
        pd.Series(texts, dtype="object"),
        mark,  # type: ignore[arg-type]
        missing=frozenset(missing),
        is_possible=lambda value: 0 <= value <= 5000,
        percent=False,
    )
    return list(numbers.values), list(numbers.unreadable)


@pytest.mark.parametrize(
    ("text", "mark", "value"),
    [
        ("1.151", ",", "1151"),
        ("1.151", ".", "1.151"),
        ("1,151", ".", "1151"),
        ("1.151,5", ",", "1151.5"),
        ("10,3", ",", "10.3"),
        ("12", ",", "12"),
        ("<0,5", ",", "0.5"),
        ("2.5e1", ".", "25"),
    ],
)
def test_the_declared_mark_decides(text: str, mark: str, value: str) -> None:
    assert read(text, mark=mark) == ([Decimal(value)], [False])


@pytest.mark.parametrize(
    ("text", "mark"),
    [("10,3", "."), ("1.15", ","), ("1.15.2", ","), ("0.151", ","), ("12 g", "."), ("1e999", "."), ("7" * 40, ".")],
)
def test_what_does_not_fit_the_mark_is_refused(text: str, mark: str) -> None:
    assert read(text, mark=mark) == ([None], [True])


def test_declared_and_registry_codes_are_missing() -> None:
    values, unreadable = read("7", "7.0", "-99", "n.d.", "", missing=("7",))
    assert values == [None] * 5
    assert not any(unreadable)


def test_only_three_digits_after_a_mark_are_unclear() -> None:
    texts = pd.Series(["1.151", "1,151", "<1.151", "0.151", "1.15", "12.3456", "1151"], dtype="object")
    assert is_unclear(texts).tolist() == [True, True, True, False, False, False, False]


@given(st.decimals(0, 5000, places=2), st.sampled_from([".", ","]))
@settings(deadline=None, max_examples=60)
def test_every_grouped_number_is_read_back(value: Decimal, mark: str) -> None:
    text = f"{value:,.2f}"
    text = text if mark == "." else text.translate(str.maketrans(",.", ".,"))
    assert read(text, mark=mark) == ([value], [False])
