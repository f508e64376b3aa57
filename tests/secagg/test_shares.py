import numpy as np
import pytest

from synthfed.secagg import messages
from synthfed.secagg.shares import explain
from tests.secagg.federation import attempt


def explained(sites=4, length=5):
    run = attempt(sites, length, fixed="shares")
    masked = run.masked()
    states = {index: site._state for index, site in run.sites.items()}
    explanation = explain(
        run.inputs,
        mask_seeds={index: state.mask_seed for index, state in states.items()},
        self_seeds={index: state.self_seed for index, state in states.items()},
        context0=run.context.digest(),
        context1=run.relay.context1,
    )
    return run, masked, explanation


def test_rows_add_up_to_inputs_and_columns_to_uploads():
    run, masked, found = explained()
    for i, index in enumerate(found.indices):
        assert np.array_equal(found.parts[i].sum(axis=0, dtype=np.uint32), run.inputs[index])
        assert np.array_equal(found.parts[:, i].sum(axis=0, dtype=np.uint32), found.held[i])
        sent = messages.Masked.unpack(messages.body_of(masked[index]), length=5).vector
        assert np.array_equal(found.masked[i], sent)


def test_total_is_the_sum_of_the_inputs():
    run, _, found = explained()
    assert np.array_equal(found.total, np.sum(list(run.inputs.values()), axis=0, dtype=np.uint32))


def test_long_vectors_are_not_explained():
    vector = np.zeros(100_000, dtype=np.uint32)
    with pytest.raises(ValueError, match="too many"):
        explain({0: vector, 1: vector}, mask_seeds={}, self_seeds={}, context0=b"", context1=b"")
