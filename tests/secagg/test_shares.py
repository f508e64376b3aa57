import numpy as np
import pytest

from synthfed.secagg import messages
from synthfed.secagg.shares import describe, example, explain
from tests.secagg.federation import attempt, stream


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


def test_the_text_can_be_checked_with_pencil_and_paper():
    """Every number that the text shows for parts, sums and masks adds up as the text says."""
    text = example({"lyon": [5, -3], "graz": [10, 20], "bern": [1, 2]}, entropy=stream("pencil"))
    steps = text.split("\n\n1.")[1]
    assert "lyon has      5  -3" in steps
    assert [f"{n}." in steps for n in (2, 3, 4, 5)] == [True] * 4
    assert "read as signed numbers: 16  19" in steps
    rows = [line.split() for line in steps.splitlines() if line.startswith("  ")]
    numbers = [
        [int(word) for word in row[1:3]] for row in rows if len(row) > 2 and row[1].isdigit() and row[2].isdigit()
    ]
    parts, at = [], 0
    for _ in range(3):
        block, total = numbers[at : at + 3], numbers[at + 3]
        assert [sum(column) % 2**32 for column in zip(*block, strict=True)] == total
        parts.append(block)
        at += 4
    held, masks, sent = (numbers[at + 3 * k : at + 3 * k + 3] for k in range(3))
    for j in range(3):
        assert held[j] == [sum(parts[i][j][k] for i in range(3)) % 2**32 for k in range(2)]
        assert sent[j] == [(held[j][k] + masks[j][k]) % 2**32 for k in range(2)]
    total, mask, result = numbers[at + 9 :]
    assert total == [sum(sent[j][k] for j in range(3)) % 2**32 for k in range(2)]
    assert result == [(total[k] - mask[k]) % 2**32 for k in range(2)] == [16, 19]


def test_an_example_that_could_wrap_is_refused():
    for inputs in ({"a": [2**30], "b": [1]}, {"a": [1], "b": [1, 2]}, {"a": []}):
        with pytest.raises(ValueError):
            example(inputs)


def test_a_real_attempt_can_be_described():
    run, _, found = explained(3, 2)
    text = describe(found, {index: run.roster.at(index).site for index in found.indices})
    assert "site2" in text
