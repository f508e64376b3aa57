"""A metric set that a copy, a shuffled table or a broken rule passes does not ship."""

import pytest

from synthfed.evaluation.scorecard import Scorecard
from synthfed.pipeline import EvaluationSettings
from tests.evaluation import cheats

REAL = cheats.tables(train=600, holdout=300, fresh=600)


@pytest.fixture(scope="module")
def fresh() -> Scorecard:
    return cheats.score(REAL.fresh, REAL)


def test_fresh_patients_are_red_nowhere(fresh):
    assert not [metric.id for metric in fresh.metrics if metric.light == "red"]
    assert {fresh.lights[q] for q in ("valid", "faithful", "useful", "private")} <= {"green", "grey"}


def test_fresh_patients_reach_their_ceiling(fresh):
    assert fresh["faithful.association"].anchored == pytest.approx(1.0, abs=0.1)
    assert fresh["useful.tstr.NPM1"].value == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("share", [0.0, 0.02])
def test_a_copy_fails_private_but_is_useful(share):
    card = cheats.score(cheats.jittered(REAL.train, share) if share else REAL.train, REAL)
    assert card.lights["private"] == "red"
    assert card["private.membership"].light == "red"
    assert card["private.near_copy"].light == "red"
    assert (card["private.exact"].light == "red") == (share == 0)
    assert (card["private.unique_value"].light == "red") == (share == 0)
    assert card["private.linkability"].light == "red"
    assert card["private.attribute"].light in ("amber", "red")
    assert card["private.singling_out"].light != "green" or share > 0
    assert card.lights["useful"] != "red"
    assert card["faithful.association"].reason == "closer to the training rows than fresh patients are"


def test_a_few_verbatim_rows_fail_private():
    card = cheats.score(cheats.partly_verbatim(REAL.fresh, REAL.train, 0.05), REAL)
    assert card["private.exact"].light == "red"
    assert card["private.exact"].value == pytest.approx(0.05, abs=0.002)
    assert card["private.membership"].light != "green"


def test_two_verbatim_rows_in_a_hundred_fail_private():
    """Too few for any attack on all rows to see; counted one by one they are plain."""
    card = cheats.score(cheats.partly_verbatim(REAL.fresh, REAL.train, 0.02), REAL)
    assert card.lights["private"] == "red"
    assert card["private.exact"].light == "red"
    assert card["private.exact"].value == pytest.approx(0.02, abs=0.002)


def test_rows_between_neighbours_fail_private_but_are_useful():
    card = cheats.score(cheats.between_neighbours(REAL.train), REAL)
    assert card.lights["private"] == "red"
    assert card["private.membership"].light == "red"
    assert card.lights["useful"] != "red"


def test_resampled_columns_are_seen_by_their_unique_values_only():
    """Columns drawn from the patients' own values: no row is a copy, and no attack on rows alarms."""
    card = cheats.score(cheats.resampled(REAL.train), REAL)
    assert (card.lights["faithful"], card.lights["useful"], card.lights["private"]) == ("red", "red", "red")
    red = {metric.id for metric in card.metrics if metric.question == "private" and metric.light == "red"}
    assert red == {"private.unique_value"}


def test_shuffled_columns_are_neither_faithful_nor_useful():
    card = cheats.score(cheats.shuffled(REAL.fresh), REAL)
    assert (card.lights["faithful"], card.lights["useful"]) == ("red", "red")
    assert card["faithful.association"].light == "red"
    assert card["faithful.shapes"].light == "green"  # what single columns cannot see
    assert card.lights["private"] != "red"


def test_numbers_pulled_to_their_median_are_not_faithful():
    """Density rewards the crowd in the middle; single columns see it."""
    card = cheats.score(cheats.collapsed(REAL.fresh), REAL, settings=EvaluationSettings())
    assert card["faithful.shapes"].light == "red"
    assert card["faithful.density"].role == "info"
    assert card.lights["faithful"] == "red"


def test_a_table_without_rare_levels_is_not_faithful():
    card = cheats.score(cheats.without_rare_levels(REAL.fresh), REAL, settings=EvaluationSettings())
    assert card["faithful.levels"].light in ("amber", "red")
    assert card.lights["faithful"] in ("amber", "red")


def test_a_table_without_missing_values_is_not_faithful():
    card = cheats.score(cheats.without_missing(REAL.fresh), REAL, settings=EvaluationSettings())
    assert card["faithful.missing"].light == "red"
    assert card.lights["faithful"] == "red"


def test_any_value_of_the_dictionary_is_private_and_nothing_else():
    card = cheats.score(cheats.uniform(600), REAL)
    assert (card.lights["valid"], card.lights["faithful"], card.lights["useful"]) == ("green", "red", "red")
    assert "red" not in {metric.light for metric in card.metrics if metric.question == "private"}


def test_one_broken_row_in_a_hundred_fails_valid():
    card = cheats.score(cheats.rule_breaking(REAL.fresh), REAL)
    assert card.lights["valid"] == "red"
    assert card["valid.hard_rules"].value == pytest.approx(0.01)


def test_survival_that_forgets_the_patient_fails():
    forgot = REAL.fresh.copy()
    columns = ["os_days", "os_event"]
    forgot[columns] = forgot[columns].sample(frac=1, random_state=1).reset_index(drop=True)
    card = cheats.score(forgot, REAL)
    assert card["survival.km_area"].light == "green"  # the overall curve is untouched
    assert card["survival.km_worst"].light == "red"
    assert card.lights["faithful"] == "red"


def test_survival_times_permuted_inside_event_status_are_seen():
    card = cheats.score(cheats.survival_permuted(REAL.fresh), REAL)
    assert card["survival.km_area"].light == "green"
    assert card["survival.km_worst"].light in ("amber", "red")


def test_twelve_holdout_rows_measure_nothing():
    card = cheats.score(REAL.fresh, REAL, holdout=12)
    needs = ("faithful.association", "faithful.shapes", "faithful.missing", "survival.km_area", "valid.soft_rules")
    attacks = tuple(f"private.{attack}" for attack in ("exact", "near_copy", "dcr", "membership", "unique_value"))
    attacks += tuple(f"private.{attack}" for attack in ("attribute", "singling_out", "linkability"))
    targets = ("useful.tstr.os_event", "useful.tstr.NPM1", "useful.tstr.risk")
    for metric_id in needs + attacks + targets:
        assert card[metric_id].light == "grey", metric_id
        assert card[metric_id].reason, metric_id
    assert {card.lights[q] for q in ("faithful", "useful", "private")} == {"grey"}


def test_a_copy_is_caught_without_any_control():
    """A verbatim training table needs no hold-out to be refused."""
    card = cheats.score(REAL.train, REAL, holdout=0)
    assert card["private.exact"].light == "red"
    assert {card[m].light for m in ("faithful.association", "faithful.shapes", "private.membership")} == {"grey"}
