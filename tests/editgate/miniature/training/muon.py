"""Muon: momentum, then the nearest orthogonal matrix, for the hidden matrices of a miniature."""

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

MOMENTUM, ROUNDS = 0.95, 5
LINEAR, CUBIC, QUINTIC = 3.4445, -4.7750, 2.0315  # of the iteration's polynomial, steepest at zero


def orthogonalized(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """Return about U V^T of the matrix U S V^T [rows, columns] in `dtype`, by five Newton-Schulz rounds.

    The singular values end between about 0.5 and 1.5, which trains as well as ones do (Keller Jordan, "Muon: an
    optimizer for hidden layers in neural networks", 2024).
    """
    wide = matrix.to(dtype)
    wide = wide.T if len(matrix) > matrix.shape[1] else wide
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(ROUNDS):
        gram = wide @ wide.T
        update = torch.addmm(gram, gram, gram, beta=CUBIC, alpha=QUINTIC)
        wide = torch.addmm(wide, update, wide, beta=LINEAR)
    return wide.T if len(matrix) > matrix.shape[1] else wide


class Muon(torch.optim.Optimizer):
    """`torch.optim.Muon` with a choice of precision: that one is bound to bfloat16, which many processors emulate.

    Args:
        parameters: matrices.
        lr: times sqrt(rows / columns) where a matrix is taller than wide.
        weight_decay: decoupled.
        precision: name of the dtype in which updates are made orthogonal; `bfloat16` gives torch's own to the bit.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float, precision: str) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "precision": precision})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient; a closure has no use here and is refused."""
        if closure is not None:
            raise ValueError("closure: not supported, call backward() before step().")
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._update(matrix, group)

    def _update(self, matrix: nn.Parameter, group: dict[str, Any]) -> None:
        gradient = cast("Tensor", matrix.grad)
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        state["momentum_buffer"].lerp_(gradient, 1 - MOMENTUM)
        ahead = gradient.lerp(state["momentum_buffer"], MOMENTUM)
        direction = orthogonalized(ahead, getattr(torch, group["precision"]))
        rows, columns = matrix.shape
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(direction, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)
