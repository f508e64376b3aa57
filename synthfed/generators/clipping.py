"""Per-record clipping of linear networks without per-record gradients (book-keeping, arXiv 2210.00038).

For a linear layer with input a and output gradient b, one record's weight gradient is the outer product of b and a
and its bias gradient is b, so its squared norm is |b|^2 (|a|^2 + 1). One backward pass to the layers' outputs gives
every record's norm; the clipped sum is then (cB)^T A per layer with c = min(1, C / (norm + 1e-6)). This costs what
an ordinary step costs. One record moves the sum by at most C: that is the sensitivity the noise is scaled to.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from synthfed.errors import TrainingError

_CONTAINERS = (nn.ModuleList, nn.Sequential, nn.ModuleDict)


def linear_layers(module: nn.Module) -> tuple[nn.Linear, ...]:
    """The layers of `module` in parameter order.

    Raises:
        TrainingError: A parameter belongs to anything but `nn.Linear` with a bias: its norm would be left out, and the
            clipped sum would not be bounded.
    """
    layers = []
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear):
            if part.bias is None:
                raise TrainingError(f"layer {name!r}: Linear without bias is not supported by book-keeping; add one")
            layers.append(part)
        elif type(part).__module__.startswith("torch.nn") and not isinstance(part, _CONTAINERS):
            raise TrainingError(
                f"layer {name or 'network'!r} is a {type(part).__name__}; private training knows Linear only: "
                "its per-record gradients are exact, other layers mix records or have no closed form here"
            )
        elif next(part.parameters(recurse=False), None) is not None:
            raise TrainingError(f"module {name or 'network'!r} owns free parameters; put them into Linear layers")
    return tuple(layers)


class FlatNetwork:
    """A network whose parameters are views of one flat vector: one noise draw, one optimiser step, one read-out.

    Attributes:
        flat: The vector, in the order of `module.named_parameters()`, itself the parameter Opacus steps.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.layers = linear_layers(module)
        parameters = list(module.parameters())
        self.flat = nn.Parameter(torch.cat([p.detach().reshape(-1) for p in parameters]))
        offset = 0
        for parameter in parameters:
            parameter.data = self.flat.data[offset : offset + parameter.numel()].view_as(parameter)
            parameter.requires_grad_(False)  # gradients stop at the layers' outputs; see `clipped_sum`
            offset += parameter.numel()
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._order: list[nn.Linear] = []
        for layer in self.layers:
            layer.register_forward_hook(self._record)

    def _record(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return output
        if not output.requires_grad:
            output.requires_grad_()
        self._inputs.append(inputs[0].detach())
        self._outputs.append(output)
        self._order.append(layer)  # type: ignore[arg-type]  # hooks sit on the linear layers only
        return output

    def begin(self) -> None:
        """Forget earlier forward passes; call before the pass whose gradients are wanted."""
        self._inputs.clear()
        self._outputs.clear()
        self._order.clear()

    def _require_each_layer_once(self) -> None:
        if len(self._order) != len(self.layers) or set(self._order) != set(self.layers):
            raise TrainingError(
                f"one forward pass used {len(self._order)} linear layers, the network has {len(self.layers)}; "
                "each must be used exactly once, or a record's norm would be wrong"
            )

    def _pull_back(self, losses: Tensor) -> tuple[Tensor, ...]:
        self._require_each_layer_once()
        return torch.autograd.grad(losses, self._outputs, grad_outputs=torch.ones_like(losses))

    def clipped_sum(self, losses: Tensor, clip_norm: float) -> Tensor:
        """Sum over records of gradients clipped to `clip_norm`, flat.

        Args:
            losses: One loss per record, (n,), from a forward pass since `begin`; n may be 0.

        Raises:
            TrainingError: A record's gradient is not finite, or a layer was not used exactly once.
        """
        if losses.shape[0] == 0:
            return torch.zeros_like(self.flat.data)
        return self._clipped(self._pull_back(losses), clip_norm)

    def clipped_sum_and_slopes(self, scores: Tensor, points: Tensor, clip_norm: float) -> tuple[Tensor, Tensor]:
        """`clipped_sum` of `scores`, and their slopes at `points` (n, width) with a graph to differentiate further.

        One backward pass serves both; the module's parameters must require gradients for the graph to reach them.
        """
        self._require_each_layer_once()
        slopes_at_points, *slopes = torch.autograd.grad(scores.sum(), [points, *self._outputs], create_graph=True)
        return self._clipped(tuple(slope.detach() for slope in slopes), clip_norm), slopes_at_points

    def _clipped(self, slopes: tuple[Tensor, ...], clip_norm: float) -> Tensor:
        squares = np.zeros(slopes[0].shape[0], dtype=slopes[0].numpy().dtype)
        for a, b in zip(self._inputs, slopes, strict=True):
            squares += _row_squares(b) * (_row_squares(a) + 1.0)
        if not math.isfinite(squares.sum()):
            raise TrainingError("a gradient is NaN or infinite; lower generator.site_rate or check the weights")
        factors = np.minimum(clip_norm / (np.sqrt(squares) + 1e-6), 1.0)
        return self._weighted_sum(slopes, torch.from_numpy(factors)[:, None])

    def _weighted_sum(self, slopes: tuple[Tensor, ...], factors: Tensor) -> Tensor:
        total = torch.empty_like(self.flat.data)
        gradients = dict(zip(self._order, zip(self._inputs, slopes, strict=True), strict=True))
        offset = 0
        for layer in self.layers:
            a, b = gradients[layer]
            scaled = b * factors
            size = layer.weight.numel()
            torch.mm(scaled.T, a, out=total[offset : offset + size].view_as(layer.weight))  # (cB)^T A
            torch.sum(scaled, 0, out=total[offset + size : offset + size + layer.bias.numel()])
            offset += size + layer.bias.numel()
        return total

    def vector(self) -> Tensor:
        """A copy of the flat parameters."""
        return self.flat.detach().clone()


def _row_squares(rows: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.floating[Any]]]:
    """|row|^2, (n, width) -> (n,); numpy's takes half the time of torch's."""
    values = rows.numpy()
    squares: np.ndarray[tuple[int, ...], np.dtype[np.floating[Any]]] = np.vecdot(values, values)
    return squares
