"""Optimize a codebook value: the output of one matrix that makes the model give an answer.

    v* = argmin_v  -(1/T) Σ_j log p(t_j | prompt, t_<j; the matrix gives v at some positions)      by Adam

Blocks below the matrix, and all that comes before the first of these positions, are the same for every v. They are
computed once; each step runs the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from editors.grace.codebook_model import changed_output, replacement_of
from editors.models.architecture import Architecture
from editors.models.cached_window import CachedWindow, CachedWindowUnsupported, PlainWindow, Window
from editors.models.tokens import Row
from editors.models.trace import Trace


class Settings(Protocol):
    """The hyperparameters that the search reads."""

    @property
    def n_iter(self) -> int: ...  # noqa: D102
    @property
    def edit_lr(self) -> float: ...  # noqa: D102


class ValueSearch:
    """The loss of values for one prompt and answer.

    Args:
        architecture: The model's.
        matrix: A projection in block `layer`.
        layer: That block.
        row: Prompt and answer with the answer's labels; its lookup is the first position that takes the value.
        target: The answer's token ids, T of them.
        where: All positions that take the value.
    """

    def __init__(
        self,
        architecture: Architecture,
        matrix: nn.Module,
        layer: int,
        *,
        row: Row,
        target: Sequence[int],
        where: slice,
    ) -> None:
        self._matrix = matrix
        trace = Trace(architecture, [row], [])
        self._window, begin = _window(trace, layer)
        self._nothing = torch.zeros_like(trace.entering[0][0, 0])  # a window adds to a block's output; here, 0
        self._where = slice(where.start - begin, None if where.stop is None else where.stop - begin)
        self._target = torch.tensor(list(target))

    def loss(self, value: Tensor) -> Tensor:
        """Mean negative log-likelihood of the answer's tokens under a value [d_out]."""
        with changed_output(self._matrix, replacement_of(value, self._where)):
            logits = self._window.logits(self._nothing)
        return cross_entropy(logits.to(value.dtype), self._target.to(logits.device))

    def run(self, start: Tensor, settings: Settings) -> tuple[Tensor, list[float]]:
        """The value [d_out] after `n_iter` steps of Adam, and the loss before each of them."""
        value = start.detach().clone().requires_grad_()
        optimizer = torch.optim.Adam([value], lr=settings.edit_lr)
        losses = []
        for _ in range(settings.n_iter):
            loss = self.loss(value)
            (value.grad,) = torch.autograd.grad(loss, value)
            optimizer.step()
            losses.append(float(loss.detach()))
        return value.detach(), losses


def _window(trace: Trace, layer: int) -> tuple[Window, int]:
    """The model from a block on, nothing added, and the position where it begins: the row's lookup, or 0."""
    last = trace.architecture.depth - 1
    try:
        return CachedWindow(trace, layer - 1, last), trace.rows[0].lookup
    except CachedWindowUnsupported:
        return PlainWindow(trace, layer - 1 if layer else last, last), 0
