import numpy as np
import pytest

from synthfed.evaluation.distance import Gower, nearest
from synthfed.evaluation.rows import Shape, read_rows
from tests.evaluation import cheats

SHAPE = Shape.of(cheats.SCHEMA)
FIRST, SECOND = (read_rows(cheats.simulate(n, n), SHAPE) for n in (40, 33))


def test_blocks_equal_the_definition():
    gower = Gower.spread_of(FIRST, SECOND)
    fast = gower.between(FIRST, SECOND, block=7)
    numbers_1, numbers_2 = gower.embed(FIRST)[0], gower.embed(SECOND)[0]
    for i in (0, 13, 39):
        for j in (0, 20, 32):
            parts = []
            for k in range(len(SHAPE.numbers)):
                gone = np.isnan(FIRST.numbers[i, k]), np.isnan(SECOND.numbers[j, k])
                near = min(abs(float(numbers_1[i, k]) - float(numbers_2[j, k])), 1.0)
                parts.append(float(gone[0] != gone[1]) if any(gone) else near)
            parts += list((FIRST.codes[i] != SECOND.codes[j]).astype(float))
            assert fast[i, j] == pytest.approx(np.mean(parts), abs=1e-6)


def test_a_row_is_nearest_to_itself_and_distance_is_symmetric():
    gower = Gower.spread_of(FIRST)
    distances = gower.between(FIRST, FIRST)
    np.testing.assert_allclose(np.diag(distances), 0, atol=1e-6)
    np.testing.assert_allclose(distances, distances.T, atol=1e-6)
    assert distances.max() <= 1
    np.testing.assert_allclose(nearest(distances), 0, atol=1e-6)
    assert (nearest(distances, 5) >= nearest(distances)).all()
