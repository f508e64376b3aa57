import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from synthfed.secagg.refusals import NonFinite, WeightRefused
from synthfed.secagg.ring import add, decode_sum, encode, neg, scale_bits

words = arrays(np.uint32, 5, elements=st.integers(0, 2**32 - 1))
reals = arrays(np.float32, 6, elements=st.floats(-3, 3, width=32))


def test_one_coordinate_is_rounded_at_scale_30():
    assert encode(np.array([0.25], dtype=np.float32), bound=1.0, weight=0.5).values.tolist() == [2**27]


@pytest.mark.parametrize(("bound", "bits"), [(1.0, 30), (0.5, 31), (2.0, 29), (1.5, 29), (3.0, 28), (0.01, 36)])
def test_scale_leaves_two_bits_of_room(bound, bits):
    assert scale_bits(bound) == bits
    assert 2**29 < bound * 2.0**bits <= 2**30


def test_product_is_not_rounded_to_float32():
    """float32 * float in float32 would be off by several units at scale 30."""
    x = np.array([0.7], dtype=np.float32)
    assert encode(x, bound=1.0, weight=1 / 3).values[0] == round(float(x[0]) * (1 / 3 * 2**30))


def test_half_goes_to_even():
    x = np.array([0.5, 1.5, 2.5], dtype=np.float64) * 2.0**-30
    assert encode(x, bound=1.0, weight=1.0).values.tolist() == [0, 2, 2]


@given(st.lists(reals, min_size=1, max_size=8), st.sampled_from([0.1, 1.0, 1.7, 3.0]))
@settings(deadline=None)
def test_decoded_sum_is_the_mean_within_the_stated_error(vectors, bound):
    sites = len(vectors)
    total = np.zeros(6, dtype=np.uint32)
    for vector in vectors:
        total = add(total, encode(vector, bound=bound, weight=1 / sites).values)
    exact = np.mean([np.clip(vector.astype(np.float64), -bound, bound) for vector in vectors], axis=0)
    tolerance = (sites / 2) * 2.0 ** -scale_bits(bound)
    assert np.abs(decode_sum(total, bound=bound, total_weight=1.0) - exact).max() <= tolerance * (1 + 1e-6)


@pytest.mark.parametrize("sites", [3, 10, 50])
@pytest.mark.parametrize("bound", [1.0, 1.9, 0.3])
def test_the_largest_inputs_of_all_sites_do_not_wrap(sites, bound):
    worst = np.array([1e30, -1e30, bound, -bound], dtype=np.float32)
    integers = encode(worst, bound=bound, weight=1 / sites).values.view(np.int32).astype(np.int64) * sites
    assert np.abs(integers).max() <= 2**30 + sites / 2 < 2**31


def test_clipping_is_counted():
    encoded = encode(np.array([0.5, 2.0, -3.0, 1.0], dtype=np.float32), bound=1.0, weight=1.0)
    assert encoded.clipped_fraction == 0.5
    assert encoded.values.view(np.int32).tolist() == [2**29, 2**30, -(2**30), 2**30]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_is_refused(bad):
    with pytest.raises(NonFinite, match="1 of 2"):
        encode(np.array([0.0, bad], dtype=np.float32), bound=1.0, weight=1.0)


@pytest.mark.parametrize("weight", [0.0, -0.5, 1.0000001, float("nan")])
def test_weights_that_could_wrap_are_refused(weight):
    with pytest.raises(WeightRefused):
        encode(np.zeros(1, dtype=np.float32), bound=1.0, weight=weight)


@pytest.mark.parametrize("total", [0.0, 1.02, -1.0, float("nan")])
def test_total_weight_out_of_range_is_refused(total):
    with pytest.raises(WeightRefused):
        decode_sum(np.zeros(1, dtype=np.uint32), bound=1.0, total_weight=total)


@given(words, words)
@settings(deadline=None)
def test_ring_laws(left, right):
    assert np.array_equal(add(left, right), add(right, left))
    assert not add(left, neg(left)).any()


def test_bounds_outside_the_range_are_refused():
    with pytest.raises(ValueError, match="bound"):
        scale_bits(0.0)
    with pytest.raises(ValueError, match="one vector"):
        encode(np.zeros((2, 2), dtype=np.float32), bound=1.0, weight=1.0)


def test_a_value_just_above_the_bound_is_clipped_and_counted_in_every_chunk():
    """float32(0.1) exceeds 0.1; chunks with and without such values give what one float64 pass gives."""
    x = np.zeros(200_001, dtype=np.float32)
    x[[5, 70_000, 200_000]] = np.float32(0.1)
    x[140_000] = -3.0
    found = encode(x, bound=0.1, weight=1 / 7)
    expected = np.rint(np.clip(x.astype(np.float64), -0.1, 0.1) * (1 / 7 * 2.0 ** scale_bits(0.1)))
    assert np.array_equal(found.values.view(np.int32), expected)
    assert found.clipped_fraction == 4 / x.size


def test_a_late_nan_is_counted_with_all_others():
    x = np.zeros(150_000)
    x[[1, 149_999]] = np.nan, np.inf
    with pytest.raises(NonFinite, match="2 of 150000"):
        encode(x, bound=1.0, weight=0.5)
