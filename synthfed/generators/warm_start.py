"""Move a tree model's distribution into a network, and hold it there: the warm start of `tvae` and `ctgan`.

The tree was fitted to noisy sums that are paid for; everything here sees only the tree, so it is post-processing and
costs no privacy. Rows drawn from the tree stand in for patients, and there is no end of them. What distillation used
to lose had two causes, and two remedies:

- *Holes in the prior.* With a small weight on the divergence a decoder is trained where the encoder puts rows and
  sampled where nobody was. Here the weight is 1, and the token, which nearly everything depends on, need not pass
  through the latent: the decoder is told it (`condition`) and it is drawn from its own noisy shares.
- *What the latent leaves out.* Afterwards the shares of all pairs of levels, in each group of the token (event or
  not), are pulled to the tree's exact ones. This needs no encoder and draws latents as sampling does.

DP-SGD may follow. A `ctgan` should then be calibrated once more: steps along a noisy critic blur what the sums said. A
`tvae` takes small steps that do little harm, and calibration would take back what they learned. On the tables looked
at, the same budget spent on counts alone gave rows as good or better: see `tests/benchmarks/test_hybrid_quality.py`.

For `ctgan` the generator is distilled as the decoder of an autoencoder that is then thrown away.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from synthfed.errors import TrainingError
from synthfed.generators import condition
from synthfed.generators.base import Layout, Weights
from synthfed.generators.ctgan import Ctgan
from synthfed.generators.marginal import MarginalModel, Workload
from synthfed.generators.marginal.model import marginal
from synthfed.generators.networks import Vae, first_weights, load_weights, one_hot, one_thread
from synthfed.generators.tvae import Tvae

STEPS = 1500
PULLS = 300
_POOL = 100_000  # rows drawn from the tree
_BATCH = 500
_RATE = 0.005  # Adam's, falling to nothing over the second half
_DRAWS = 1024  # latents per pull
_PULL_RATE = 0.001
_SINGLES = 5.0  # weight of single levels against pairs of levels


def distil(
    generator: Tvae | Ctgan, model: MarginalModel, layout: Layout, *, workload: Workload, seed: int, steps: int = STEPS
) -> Weights:
    """First weights of a warm start: the tensors of `generator.init(given=told_block(workload))`, fitted to `model`.

    Post-processing of the model: costs nothing, and an adversary learns nothing beyond the model. The same seed gives
    the same bytes on the same machine; another machine may round matrix products differently, so run it in one place
    and send the result.

    Args:
        workload: Says which block the network is told (`told_block`).

    Raises:
        TrainingError: Training became NaN.
    """
    given, prefix = told_block(workload), generator.released_prefix
    weights = generator.init(layout, seed=seed, given=given)
    with one_thread():
        network = generator.autoencoder(layout, given, beta=1.0)
        load_weights(network, first_weights(network, seed=seed))
        _train(network, model, layout, seed=seed, steps=steps)
        learned = {name: p.detach().numpy().copy() for name, p in network.named_parameters()}
    for name in weights:
        source = "decoder." + name.removeprefix(prefix) if name.startswith(prefix) else name
        weights[name] = learned.get(source, weights[name])
    released = {name: weights[name] for name in weights if name.startswith(prefix)}
    return {**weights, **calibrate(generator, released, model, layout, workload=workload, seed=seed)}


def calibrate(
    generator: Tvae | Ctgan,
    released: Weights,
    model: MarginalModel,
    layout: Layout,
    *,
    workload: Workload,
    seed: int,
    steps: int = PULLS,
) -> Weights:
    """Pull what a network draws to the model's pair shares, in each group of what it is told, and set that exactly.

    Post-processing of both arguments: costs nothing. Same promise about bytes as `distil`.

    Args:
        released: The tensors that ship, as `generator.release` returns them.

    Raises:
        TrainingError: The tensors do not fit the layout and the workload, or became NaN.
    """
    given, prefix = told_block(workload), generator.released_prefix
    if condition.centre_of(released, prefix, layout) != given:
        raise TrainingError(
            f"the network is told block {condition.centre_of(released, prefix, layout)}, the workload would tell it "
            f"{given}; calibrate weights that `distil` made for this workload"
        )
    with one_thread():
        network = generator.autoencoder(layout, given, beta=1.0)
        load_weights(network.decoder, released, prefix=prefix)
        _pull(network, model, layout, workload, seed=seed, steps=steps)
        out = {prefix + name: p.detach().numpy().copy() for name, p in network.decoder.named_parameters()}
    if given is not None:
        out[prefix + condition.NAME] = condition.of_shares(layout, given, marginal(model, (given,)))
    return {name: out[name] for name in released}


def _train(network: Vae, model: MarginalModel, layout: Layout, *, seed: int, steps: int) -> None:
    """Ordinary minibatch training of the autoencoder on rows of the tree."""
    codes = model.sample(_POOL, seed)
    rng = np.random.default_rng([seed, 0xD157])
    draws = torch.Generator()
    draws.manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters())
    for _ in _falling(optimizer, _RATE, steps):
        rows = one_hot(codes[rng.integers(0, len(codes), _BATCH)], layout)
        loss = network(rows, torch.randn(len(rows), network.latent, generator=draws)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _pull(network: Vae, model: MarginalModel, layout: Layout, workload: Workload, *, seed: int, steps: int) -> None:
    """Stochastic descent on the squared distance of pair shares.

    The distance is taken from one batch of draws: its expectation holds the draws' variance too, which is small and
    smooth. Unbiased forms (two batches, or one against a running mean) were tried and are noisier than that bias.
    """
    wanted = torch.from_numpy(pair_shares(model, layout, workload)).float()
    weights = 1.0 - network.blocks.members @ network.blocks.members.T + _SINGLES * torch.eye(layout.total_width)
    levels = _Levels.of(model, workload)
    draws = torch.Generator()
    draws.manual_seed(seed)
    optimizer = torch.optim.Adam(network.decoder.parameters())
    for _ in _falling(optimizer, _PULL_RATE, steps):
        loss = ((_drawn_pairs(network, levels, draws) - wanted).square() * weights).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's stubs
        optimizer.step()
    if not all(torch.isfinite(p).all() for p in network.decoder.parameters()):
        raise TrainingError("calibration became NaN or infinite; this is a fault of the software, please report it")


def told_block(workload: Workload) -> int | None:
    """The block that a warm network is told: the survival token, else the first declared outcome, else none."""
    if workload.centre is not None:
        return workload.centre
    return workload.outcomes[0] if workload.outcomes else None


def pair_shares(model: MarginalModel, layout: Layout, workload: Workload) -> npt.NDArray[np.float64]:
    """Exact joint shares of all pairs of levels within each group of the told block's levels.

    Returns:
        float64 (groups, width, width), symmetric; a block's own square holds its levels' shares on the diagonal.
        Over the groups they add up to the pairs' shares. Where no block is told there is one group.
    """
    told = told_block(workload)
    starts = np.cumsum((0, *layout.widths))
    groups = _groups(layout, workload)
    member = np.eye(max(groups) + 1)[list(groups)]  # (levels of the told block, groups)
    out = np.zeros((member.shape[1], layout.total_width, layout.total_width))

    def put(one: int, other: int, shares: npt.NDArray[np.float64]) -> None:  # (groups, levels of one, of other)
        rows, columns = (slice(starts[block], starts[block + 1]) for block in (one, other))
        out[:, rows, columns] = shares
        out[:, columns, rows] = shares.transpose(0, 2, 1)

    def grouped(*blocks: int) -> npt.NDArray[np.float64]:  # -> (groups, levels of each block...)
        if told is None:
            return marginal(model, blocks)[None]
        return np.moveaxis(marginal(model, (*blocks, told)) @ member, -1, 0)

    drawn = [block for block in range(len(layout.widths)) if block != told]
    if told is not None:
        own = marginal(model, (told,))
        put(told, told, (member * own[:, None]).T[:, :, None] * np.eye(len(own)))
        for block in drawn:
            put(block, told, member.T[:, None, :] * marginal(model, (block, told)))
    for block in drawn:
        put(block, block, grouped(block)[:, :, None] * np.eye(layout.widths[block]))
    for one, other in combinations(drawn, 2):
        put(one, other, grouped(one, other))
    return out


@dataclass(frozen=True, slots=True)
class _Levels:
    """How told levels are drawn: those of one group side by side, so that a group's rows are one slice."""

    order: Tensor  # (levels,) the levels, group after group
    upto: Tensor  # (levels,) cumulated shares in that order
    groups: tuple[int, ...]  # per level in that order

    @classmethod
    def of(cls, model: MarginalModel, workload: Workload) -> "_Levels | None":
        told = told_block(workload)
        if told is None:
            return None
        groups = np.asarray(_groups(model.layout, workload))
        order = np.argsort(groups, kind="stable")
        upto = np.cumsum(marginal(model, (told,))[order])
        return cls(torch.from_numpy(order), torch.from_numpy(upto), tuple(int(group) for group in groups[order]))


def _drawn_pairs(network: Vae, levels: _Levels | None, draws: torch.Generator) -> Tensor:
    """What `pair_shares` is for the network, estimated from fresh latents: (groups, width, width)."""
    latent = torch.randn(_DRAWS, network.latent, generator=draws)
    if levels is None or network.given is None:
        soft = network.blocks.softmax(network.decoder(latent))  # (draws, width)
        return _products(soft)[None]
    places = (torch.arange(_DRAWS) + torch.rand(1, generator=draws)) / _DRAWS  # systematic: each level its share
    index = torch.searchsorted(levels.upto, places.double()).clamp(max=len(levels.order) - 1)
    told = functional.one_hot(levels.order[index], len(levels.order)).float()
    soft = network.blocks.softmax(network.decoder(torch.cat([latent, told], dim=1)))
    soft = network.blocks.tell(soft, network.given, told)
    sizes = torch.bincount(torch.tensor(levels.groups)[index], minlength=max(levels.groups) + 1)
    return torch.stack([_products(part) for part in torch.split(soft, sizes.tolist())])


def _products(soft: Tensor) -> Tensor:
    """Shares of pairs of levels, blocks being independent given the latent; of single levels on the diagonal."""
    pairs = soft.T @ soft / _DRAWS
    out: Tensor = torch.diagonal_scatter(pairs, soft.sum(0) / _DRAWS)
    return out


def _groups(layout: Layout, workload: Workload) -> tuple[int, ...]:
    """Per level of the told block, its group: of a survival token event, censored and missing, else each level."""
    told = told_block(workload)
    if told is None:
        return (0,)
    if told == workload.centre:
        return tuple(workload.axes_for(layout)[told].groups)
    return tuple(range(layout.widths[told]))


def _falling(optimizer: torch.optim.Optimizer, rate: float, steps: int) -> Iterator[int]:
    """Count steps, the full rate for the first half and falling to nothing over the second."""
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, 2.0 * (1.0 - step / steps))
        yield step
