import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.evaluation.learning import auc
from synthfed.evaluation.rows import Shape, read_rows
from synthfed.evaluation.utility import Target, event_by, make_target, skill_kept, utility_metrics
from tests.evaluation import cheats

SHAPE = Shape.of(cheats.SCHEMA)
REAL = cheats.tables(train=400, holdout=250, fresh=400, seed=6)
TRAIN, HOLDOUT, FRESH = (read_rows(t, SHAPE) for t in (REAL.train, REAL.holdout, REAL.fresh))


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_weighted_area_equals_scikit_learn_on_repeated_rows(seed):
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(seed)
    scores, positive = rng.integers(0, 6, 30).astype(float), (np.arange(30) < 12).astype(float)
    weights = rng.integers(0, 4, (1, 30)).astype(float) + (np.arange(30) % 29 == 0)
    times = weights[0].astype(int)
    if len(np.unique(np.repeat(positive, times))) < 2:
        return
    expected = roc_auc_score(np.repeat(positive, times), np.repeat(scores, times))
    assert auc(scores, positive, weights)[0] == pytest.approx(expected)


def test_outcome_columns_are_no_inputs():
    target = make_target("NPM1", cheats.SCHEMA, HOLDOUT)
    assert isinstance(target, Target)
    assert set(target.dropped) == {"NPM1", "response", "os_days", "os_event"}


def test_an_event_is_predicted_by_a_day_and_early_censoring_is_unknown():
    endpoint = cheats.SCHEMA.survivals[0]
    labels = event_by(HOLDOUT, endpoint, 1826.0)
    time, event = HOLDOUT.number("os_days"), HOLDOUT.number("os_event")
    assert (labels[(time <= 1826) & (event == 0)] == -1).all()
    assert (labels[time > 1826] == 0).all()
    assert (labels[(time <= 1826) & (event == 1)] == 1).all()


def test_the_training_table_keeps_all_skill_and_shuffled_columns_none():
    target = make_target("risk", cheats.SCHEMA, HOLDOUT)
    assert isinstance(target, Target)
    same = skill_kept(target, TRAIN, HOLDOUT, TRAIN, seed=0)
    none = skill_kept(target, TRAIN, HOLDOUT, FRESH.shuffled(np.random.default_rng(0)), seed=0)
    assert same.kept == pytest.approx(1.0, abs=1e-3)
    assert none.kept < 0.4
    assert same.floor < 0.4


@pytest.mark.parametrize(
    ("name", "words"), [("age_years", "is a number"), ("nonsense", "not a column"), ("response", "")]
)
def test_targets_that_cannot_be_scored_say_why(name, words):
    metric, *_ = utility_metrics([name], cheats.SCHEMA, TRAIN, HOLDOUT, FRESH, seed=0)
    assert words in metric.reason
    if words:
        assert (metric.value, metric.light) == (None, "grey")


def test_an_unpredictable_target_is_grey():
    """Sex is a coin in this cohort: skill kept would be a ratio of noise."""
    metric, *_ = utility_metrics(["sex"], cheats.SCHEMA, TRAIN, HOLDOUT, FRESH, seed=0)
    assert metric.light == "grey"
    assert "hardly predict" in metric.reason


def test_a_synthetic_table_with_one_class_keeps_no_skill():
    one = read_rows(REAL.fresh.assign(NPM1=0), SHAPE)
    metric, *_ = utility_metrics(["NPM1"], cheats.SCHEMA, TRAIN, HOLDOUT, one, seed=0)
    assert metric.value == pytest.approx(0.0)
    assert metric.light == "red"


def test_the_group_that_keeps_least_is_named():
    """Patients at low risk get outcomes at random: whoever looks at them alone learns nothing from the table."""
    rng = np.random.default_rng(3)
    spoilt = FRESH.take(np.arange(len(FRESH)))
    low = spoilt.level("sex") == 0
    place = next(i for i, c in enumerate(SHAPE.levels) if c.name == "NPM1")
    spoilt.codes[low, place] = rng.permutation(spoilt.codes[low, place])
    metrics = {
        m.id: m for m in utility_metrics(["NPM1"], cheats.SCHEMA, TRAIN, HOLDOUT, spoilt, seed=0, groups=["sex"])
    }
    worst, whole = metrics["useful.worst_group.NPM1"], metrics["useful.tstr.NPM1"]
    assert worst.role == "info"
    assert worst.reason.startswith("sex=")
    assert (worst.value or 0) <= (whole.value or 0)
    assert (worst.value_low or 0) < (worst.value or 0) < (worst.value_high or 0)


def test_small_groups_and_the_target_itself_are_no_groups():
    ids = {m.id for m in utility_metrics(["NPM1"], cheats.SCHEMA, TRAIN, HOLDOUT, FRESH, seed=0, groups=["NPM1"])}
    assert ids == {"useful.tstr.NPM1", "useful.augment.NPM1"}


def test_more_patients_add_to_few_and_noise_does_not():
    few = TRAIN.take(np.arange(110))
    shuffled = FRESH.take(np.arange(110)).shuffled(np.random.default_rng(1))
    target = make_target("NPM1", cheats.SCHEMA, HOLDOUT)
    assert isinstance(target, Target)
    more = skill_kept(target, few, HOLDOUT, FRESH.take(np.arange(110)), seed=0)
    noise = skill_kept(target, few, HOLDOUT, shuffled, seed=0)
    assert more.gained > noise.gained
    assert noise.gained < 0.01
