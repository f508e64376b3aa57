import json
import math

import pytest

from synthfed.evaluation.scorecard import Metric, Scorecard, significant


def _metric(light: str, role: str = "deciding", question: str = "private", **changes) -> Metric:
    return Metric(f"{question}.{light}.{role}", question, role, "a label", 0.5, "lower", light=light, **changes)


@pytest.mark.parametrize(
    ("metrics", "light"),
    [
        ([], "grey"),
        ([_metric("green")], "green"),
        ([_metric("green"), _metric("grey")], "grey"),
        ([_metric("green"), _metric("grey"), _metric("amber")], "amber"),
        ([_metric("amber"), _metric("red")], "red"),
        ([_metric("green"), _metric("grey", "if_measurable")], "green"),
        ([_metric("green"), _metric("amber", "if_measurable")], "amber"),
        ([_metric("green"), _metric("red", "info")], "green"),
        ([_metric("red", "info")], "grey"),
    ],
)
def test_a_question_takes_its_worst_deciding_light(metrics, light):
    assert Scorecard(tuple(metrics)).lights["private"] == light


def test_six_significant_digits_and_no_nan():
    assert significant(0.123456789) == 0.123457
    assert significant(math.nan) is None
    assert significant(math.inf) is None
    card = Scorecard((_metric("green", ceiling=math.nan),))
    assert '"ceiling": null' in json.dumps(card.to_dict(), allow_nan=False)


def test_the_reason_names_the_leading_metric():
    card = Scorecard((_metric("green"), _metric("red", reason="copied")))
    assert card.answer("private").because == "a label = 0.5 (copied)"
    assert card.to_dict()["lights"]["private"]["leading_metric"] == "private.red.deciding"


def test_the_terminal_table_says_lights_in_words():
    text = str(Scorecard((_metric("amber"), _metric("grey", "info", "useful"))))
    assert "partly shown" in text
    assert "information" in text


def test_an_unknown_metric_is_a_key_error():
    with pytest.raises(KeyError):
        Scorecard(())["faithful.nothing"]
