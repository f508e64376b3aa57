"""What a release is scored on: public, the same every time, and nothing that a rule decides."""

import pytest

from synthfed.errors import ConfigError
from synthfed.evaluation.counted.tables import MOST_PAIRS
from tests.evaluation.cheats import SETTINGS, shuffled, simulate
from tests.evaluation.counted.world import plan_for

SYNTHETIC = simulate(600, seed=2)


def test_the_same_table_gives_the_same_plan_whatever_its_order():
    assert plan_for(SYNTHETIC) == plan_for(SYNTHETIC.sample(frac=1, random_state=2))


def test_every_column_is_counted_once_and_survival_as_one_histogram_of_interval_by_event():
    asked = plan_for(SYNTHETIC)
    alone = [table.name for table, _ in asked.block("columns")]
    assert {"age_years", "sex", "NPM1", "ratio"} <= set(alone)
    assert not {"os_days", "os_event", "patient_id"} & set(alone)
    ((survival, _),) = asked.block("survival")
    assert [axis.name for axis in survival.axes] == ["os_days", "os_event"]
    assert survival.axes[0].edges[-1] == 1826.0
    ((groups, _),) = asked.block("groups")
    assert [axis.name for axis in groups.axes] == ["risk", "os_days", "os_event"]
    assert asked.rules == ("T2",)


def test_pairs_depend_in_the_table_and_are_not_what_a_hard_rule_ties():
    pairs = [{axis.name for axis in table.axes} for table, _ in plan_for(SYNTHETIC).block("pairs")]
    assert 0 < len(pairs) <= MOST_PAIRS
    assert {"risk", "os_event"} in pairs or {"risk", "response"} in pairs
    assert {"FLT3", "ratio"} not in pairs  # a ratio exists only with the mutation
    assert {"os_days", "os_event"} not in pairs


def test_declared_pairs_are_asked_and_no_others():
    settings = SETTINGS.model_copy(update={"pairs": (("NPM1", "TP53"), ("age_years", "wbc"))})
    names = [table.name for table, _ in plan_for(SYNTHETIC, settings).block("pairs")]
    assert names == ["NPM1 x TP53", "age_years x wbc"]


@pytest.mark.parametrize("changes", [{"pairs": (("NPM1", "height"),)}, {"groups": ("height",)}])
def test_a_column_that_the_run_lacks_is_named(changes):
    with pytest.raises(ConfigError, match="'height'"):
        plan_for(SYNTHETIC, SETTINGS.model_copy(update=changes))


def test_a_table_without_spread_can_still_be_asked_about():
    flat = SYNTHETIC.assign(age_years=60.0, wbc=float("nan"))
    assert plan_for(flat).cells > 0
    assert plan_for(shuffled(SYNTHETIC)).cells > 0
