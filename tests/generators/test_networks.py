"""Losses and draws per block agree with the textbook; shapes follow from the layout alone."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from synthfed.errors import TrainingError
from synthfed.generators.base import Codes, Layout
from synthfed.generators.networks import (
    Blocks,
    Gan,
    Mlp,
    draw_codes,
    first_weights,
    forward,
    load_weights,
    one_hot,
    one_thread,
)


def test_one_hot_rows_hold_one_level_per_block(layout: Layout, codes: Codes) -> None:
    rows = one_hot(codes, layout)
    assert rows.shape == (len(codes), layout.total_width)
    assert torch.equal(rows @ Blocks(layout).members, torch.ones(len(codes), len(layout.widths)))


def test_cross_entropy_is_the_sum_over_blocks(layout: Layout, codes: Codes) -> None:
    logits = torch.randn(len(codes), layout.total_width, generator=torch.Generator().manual_seed(0)) * 5
    expected = torch.zeros(len(codes))
    offset = 0
    for block, width in enumerate(layout.widths):
        target = torch.from_numpy(codes[:, block].astype(np.int64))
        expected += functional.cross_entropy(logits[:, offset : offset + width], target, reduction="none")
        offset += width
    torch.testing.assert_close(Blocks(layout).cross_entropy(logits, one_hot(codes, layout)), expected)


def test_soft_draws_sum_to_one_per_block_and_carry_gradients(layout: Layout) -> None:
    blocks = Blocks(layout)
    logits = torch.zeros(50, layout.total_width, requires_grad=True)
    drawn = blocks.draw(logits, 0.4, torch.Generator().manual_seed(1))
    torch.testing.assert_close(drawn.detach() @ blocks.members, torch.ones(50, len(layout.widths)))
    assert (drawn.detach() >= 0).all()
    weights = torch.arange(float(layout.total_width))
    (drawn @ weights).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0


def test_a_told_block_does_not_count_in_the_loss(layout: Layout, codes: Codes) -> None:
    blocks, rows = Blocks(layout), one_hot(codes, layout)
    logits = torch.randn(rows.shape, generator=torch.Generator().manual_seed(1), requires_grad=True)
    place = blocks.place(2)
    assert (place.start, place.stop) == (7, 14)
    blocks.cross_entropy(logits, rows, given=2).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert not logits.grad[:, place].any()
    assert logits.grad[:, :7].any()


def test_fakes_hold_the_told_block_as_it_is_drawn(layout: Layout) -> None:
    shares = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0, 0.0, 0.0])
    gan = Gan(layout, noise_width=4, hidden=8, critic_hidden=8, given=2, shares=shares)
    load_weights(gan, first_weights(gan, seed=1))
    with torch.no_grad():
        told = gan.fakes(2000, 0.4, torch.Generator().manual_seed(2))[:, 7:14]
    assert set(told.unique().tolist()) == {0.0, 1.0}
    assert told.mean(0).tolist() == pytest.approx(shares.tolist(), abs=0.03)


def test_drawn_codes_follow_the_logits(layout: Layout) -> None:
    logits = np.zeros((20_000, layout.total_width), dtype=np.float32)
    logits[:, 0] = np.log(4.0)  # level 0 of the first block: 4 of 8
    codes = draw_codes(logits, layout, np.random.default_rng(0))
    assert (codes >= 0).all()
    assert (codes < np.array(layout.widths)).all()
    assert (codes[:, 0] == 0).mean() == pytest.approx(0.5, abs=0.02)
    assert (codes[:, 1] == 0).mean() == pytest.approx(0.5, abs=0.02)


def test_numpy_forward_equals_torch(layout: Layout) -> None:
    network = Mlp((4, 9, 9, layout.total_width))
    weights = first_weights(network, seed=5)
    load_weights(network, weights)
    x = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(x)).numpy()
    released = {f"decoder.{name}": value for name, value in weights.items()}
    np.testing.assert_allclose(forward(released, "decoder.", x), expected, atol=1e-5)


def test_first_weights_come_from_the_seed_alone(layout: Layout) -> None:
    first, second = (first_weights(Gan(layout, noise_width=4, hidden=8, critic_hidden=8), seed=9) for _ in range(2))
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)
    assert not any(value.any() for name, value in first.items() if name.endswith("bias"))


def test_codes_that_do_not_fit_are_refused_without_showing_them(layout: Layout, codes: Codes) -> None:
    with pytest.raises(TrainingError, match="4 blocks"):
        one_hot(codes[:, :2], layout)
    codes[3, 1] = 77
    with pytest.raises(TrainingError, match=r"\['sex'\]") as caught:
        one_hot(codes, layout)
    assert "77" not in str(caught.value)


def test_weights_of_another_shape_are_refused(layout: Layout) -> None:
    network = Mlp((4, 9, 3))
    weights = first_weights(network, seed=5)
    weights["layers.0.weight"] = weights["layers.0.weight"][:, :2]
    with pytest.raises(TrainingError, match=r"layers\.0\.weight"):
        load_weights(network, weights)


def test_one_thread_restores_the_setting() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
