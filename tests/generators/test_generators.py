"""Promises that both generators keep: deterministic, public shapes, planned costs, only what may ship."""

from dataclasses import replace

import numpy as np
import pytest

from synthfed.errors import TrainingError
from synthfed.generators.base import Codes, Generator, Layout, Plan, Weights, flatten, unflatten
from synthfed.generators.central import stint_key, train
from synthfed.generators.ctgan import Ctgan
from synthfed.generators.model_file import RELEASED_PREFIX
from synthfed.generators.plan import all_events, round_events
from synthfed.generators.registry import make_generator as from_settings
from synthfed.pipeline import CtganSettings, TvaeSettings
from tests.generators.conftest import KEY, make_codes, make_generator

both = pytest.mark.parametrize("kind", ["tvae", "ctgan"])
either_noise = pytest.mark.parametrize("sigma", [2.0, 0.0], ids=["private", "noise off"])


def _bytes(weights: Weights) -> bytes:
    return b"".join(name.encode() + value.tobytes() for name, value in weights.items())


@both
def test_registry_builds_what_the_pipeline_names(kind: str) -> None:
    settings = TvaeSettings(kind="tvae") if kind == "tvae" else CtganSettings(kind="ctgan")
    generator: Generator = from_settings(settings)
    assert generator.kind == kind


@both
@either_noise
def test_same_noise_key_gives_the_same_bytes(kind: str, sigma: float, layout: Layout, codes: Codes, plan: Plan) -> None:
    plan = replace(plan, noise_multiplier=sigma)
    first, second = (train(make_generator(kind), layout, codes, plan, 7, KEY).released for _ in range(2))
    other = train(make_generator(kind), layout, codes, plan, 7, bytes(32)).released
    assert _bytes(first) == _bytes(second)
    assert _bytes(first) != _bytes(other)


@both
@either_noise
def test_a_stint_changes_every_trained_tensor_and_no_shape(
    kind: str, sigma: float, layout: Layout, codes: Codes, plan: Plan
) -> None:
    generator = make_generator(kind)
    plan = replace(plan, noise_multiplier=sigma)
    weights = generator.init(layout, seed=1)
    before = _bytes(weights)
    stint = generator.stint(weights, layout, codes, plan, round_index=0, noise_key=KEY)
    assert _bytes(weights) == before
    assert list(stint.change) == list(weights)
    assert all(stint.change[name].shape == weights[name].shape for name in weights)
    assert all(value.dtype == np.float32 for value in stint.change.values())
    assert np.isfinite(stint.local_loss)
    still = {name for name, value in stint.change.items() if not value.any()}
    if kind == "tvae":
        assert still == set()
    elif sigma:  # under privacy the generator trains at the coordinator only
        assert still == {name for name in weights if name.startswith("generator.")}


@both
@pytest.mark.parametrize("rows", [0, 1, 59], ids=["no row", "one row", "one row fewer"])
def test_rows_change_no_shape_and_no_cost(kind: str, rows: int, layout: Layout, codes: Codes, plan: Plan) -> None:
    """What a site sends has the same form whoever is in its table."""
    generator = make_generator(kind)
    weights = generator.init(layout, seed=1)
    full = generator.stint(weights, layout, codes, plan, round_index=2, noise_key=KEY)
    fewer = generator.stint(weights, layout, codes[:rows], plan, round_index=2, noise_key=KEY)
    assert flatten(full.change).shape == flatten(fewer.change).shape
    assert full.events == fewer.events == round_events(plan, 2)


@both
def test_a_swapped_record_changes_no_shape(kind: str, layout: Layout, codes: Codes, plan: Plan) -> None:
    swapped = codes.copy()
    swapped[0] = np.array(layout.widths) - 1 - swapped[0]
    released = [train(make_generator(kind), layout, rows, plan, 7, KEY).released for rows in (codes, swapped)]
    assert {n: v.shape for n, v in released[0].items()} == {n: v.shape for n, v in released[1].items()}
    assert _bytes(released[0]) != _bytes(released[1])


@both
@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # torch, when Opacus' hooks run
def test_book_keeping_equals_opacus_hooks_over_a_whole_run(kind: str, layout: Layout, codes: Codes, plan: Plan) -> None:
    generators = [make_generator(kind), make_generator(kind, clipping="hooks")]
    changes = []
    for generator in generators:
        weights = generator.init(layout, seed=3)
        stint = generator.stint(weights, layout, codes, plan, round_index=0, noise_key=KEY)
        changes.append(flatten(stint.change))
    assert np.abs(changes[0]).max() > 0.01
    np.testing.assert_allclose(changes[0], changes[1], atol=1e-6)


@both
def test_a_run_costs_exactly_its_plan(kind: str, layout: Layout, codes: Codes, plan: Plan) -> None:
    events = train(make_generator(kind), layout, codes, plan, 7, KEY).events
    assert events == all_events(plan)
    assert sum(event.steps for event in events) == plan.total_steps


@both
def test_noise_off_is_charged_as_no_protection(kind: str, layout: Layout, codes: Codes, open_plan: Plan) -> None:
    events = train(make_generator(kind), layout, codes, open_plan, 7, KEY).events
    assert [event.noise_multiplier for event in events] == [0.0]


@both
def test_only_what_may_ship_is_released(kind: str, layout: Layout, codes: Codes, plan: Plan) -> None:
    released = train(make_generator(kind), layout, codes, plan, 7, KEY).released
    assert released
    assert all(name.startswith(RELEASED_PREFIX[kind]) for name in released)
    assert all(value.dtype == np.float32 for value in released.values())


@both
def test_samples_fit_the_layout_and_repeat(kind: str, layout: Layout, codes: Codes, plan: Plan) -> None:
    generator = make_generator(kind)
    released = train(generator, layout, codes, plan, 7, KEY).released
    first = generator.sample(released, layout, rows=200, seed=5)
    assert first.shape == (200, len(layout.widths))
    assert first.dtype == np.int32
    assert (first >= 0).all()
    assert (first < np.array(layout.widths)).all()
    assert first.tobytes() == generator.sample(released, layout, rows=200, seed=5).tobytes()
    assert first.tobytes() != generator.sample(released, layout, rows=200, seed=6).tobytes()


@both
def test_before_any_round_the_first_weights_are_released(kind: str, layout: Layout) -> None:
    generator = make_generator(kind)
    weights = generator.init(layout, seed=1)
    released = generator.release(weights, generator.start(weights))
    assert all(np.array_equal(value, weights[name]) for name, value in released.items())


@both
@either_noise
def test_weights_that_are_not_finite_stop_training(
    kind: str, sigma: float, layout: Layout, codes: Codes, plan: Plan
) -> None:
    generator = make_generator(kind)
    weights = generator.init(layout, seed=1)
    next(iter(weights.values()))[0] = np.nan
    with pytest.raises(TrainingError, match="NaN"):
        generator.stint(weights, layout, codes, replace(plan, noise_multiplier=sigma), round_index=0, noise_key=KEY)


@both
def test_an_aggregate_that_is_not_finite_stops_training(kind: str, layout: Layout, plan: Plan) -> None:
    generator = make_generator(kind)
    weights = generator.init(layout, seed=1)
    change = {name: np.full_like(value, np.nan) for name, value in weights.items()}
    with pytest.raises(TrainingError, match="NaN"):
        generator.apply(weights, generator.start(weights), change, layout, plan, round_index=0, seed=0)


@both
def test_a_plan_for_several_sites_is_refused_for_one_table(kind: str, layout: Layout, codes: Codes, plan: Plan) -> None:
    with pytest.raises(TrainingError, match="sites=1"):
        train(make_generator(kind), layout, codes, replace(plan, sites=4), 7, KEY)


@both
def test_equal_sites_average_to_the_pooled_step(kind: str, layout: Layout, codes: Codes, plan: Plan) -> None:
    """Without noise from chance alone: two sites of the same rows move the mean as one site does."""
    generator = make_generator(kind)
    weights = generator.init(layout, seed=1)
    stint = generator.stint(weights, layout, codes, plan, round_index=0, noise_key=KEY)
    mean = unflatten((flatten(stint.change) + flatten(stint.change)) / 2, weights)
    state = generator.start(weights)
    one, _ = generator.apply(weights, state, stint.change, layout, plan, round_index=0, seed=4)
    two, _ = generator.apply(weights, state, mean, layout, plan, round_index=0, seed=4)
    assert _bytes(one) == _bytes(two)


@both
def test_noise_off_learns_the_hidden_class(kind: str, layout: Layout) -> None:
    """The made-up rows hang together by one hidden class; enough steps must find it."""
    codes = make_codes(layout, 400)
    plan = Plan(
        rounds=60, local_steps=10, sample_rate=1.0, clip_norm=1.0, noise_multiplier=0.0, expected_batch=400.0, sites=1
    )
    generator = from_settings(
        TvaeSettings(kind="tvae", hidden=16, latent=4)
        if kind == "tvae"
        else CtganSettings(kind="ctgan", hidden=32, critic_hidden=32, noise_width=8, open_rate=0.01)
    )
    released = train(generator, layout, codes, plan, 7, KEY).released
    drawn = generator.sample(released, layout, rows=2000, seed=1)

    def together(rows: Codes) -> float:
        return float(np.corrcoef(rows[:, 1], rows[:, 2])[0, 1])

    assert together(drawn) > 0.6 * together(codes) > 0.3


def test_the_generator_never_meets_a_row_under_privacy(layout: Layout, codes: Codes, plan: Plan) -> None:
    """Two tables, one released critic: the coordinator's generator step cannot tell them apart."""
    generator = make_generator("ctgan")
    assert isinstance(generator, Ctgan)
    weights = generator.init(layout, seed=1)
    critic = {name: value for name, value in weights.items() if name.startswith("critic.")}
    assert set(critic) != set(weights)
    stint = generator.stint(weights, layout, codes, plan, round_index=0, noise_key=KEY)
    moved, _ = generator.apply(weights, generator.start(weights), stint.change, layout, plan, round_index=0, seed=0)
    assert any(not np.array_equal(moved[n], weights[n]) for n in weights if n.startswith("generator."))


def test_every_round_has_its_own_noise_key() -> None:
    keys = {stint_key(KEY, index) for index in range(100)}
    assert len(keys) == 100
    assert {len(key) for key in keys} == {32}
