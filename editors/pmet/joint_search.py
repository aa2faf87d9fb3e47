"""PMET's value search: vectors at several matrices of one block together (Li et al. 2023, arXiv:2308.08742).

    argmin_δ  ν NLL(targets) + κ KL(p_δ(. | "<subject> is a") || p_0) + λ Σ_s ‖δ_s‖ / ‖v_s‖²

over one vector δ_s a matrix s, added to that matrix's output at the fact token, by Adam, each δ_s kept within
c ‖v_s‖. ν is `nll_loss_factor`, or a tenth of it in a step that follows one where every target was already the
likeliest token; where that is so and κ KL is at most 0.01, the search ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from editors.locate.value_search import LOSS_TOLERANCE, Settings, Terms
from editors.models.cached_window import adding_hook, open_window
from editors.models.hooks import forward_hooks
from editors.models.projection import Matrix
from editors.models.trace import Trace

SMALL_DRIFT = 0.01  # of the weighted KL, as in the authors' code
EASED = 0.1  # factor on the NLL's weight once the targets are the likeliest tokens


class JointSettings(Settings, Protocol):
    """The hyperparameters that the search reads."""

    @property
    def nll_loss_factor(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class JointSearchResult:
    """Outcome of a search.

    Attributes:
        values: v_s + δ_s of each matrix, [M, d], float32 or wider.
        loss: Last loss computed.
        steps: Number of Adam steps taken.
    """

    values: Tensor
    loss: float
    steps: int


class JointWindow:
    """Logits at all labels, given what is added to the outputs of matrices of one block at the fact token.

    Args:
        trace: The pass with nothing added.
        matrices: M projections of block `site` that write into the residual stream.
        site: Their block; it is run too, because its MLP depends on what attention adds.
        early: Block after which all labels but the last are read, as for `CachedWindow`.
    """

    def __init__(self, trace: Trace, matrices: Sequence[Matrix], site: int, early: int) -> None:
        self._window = open_window(trace, site - 1, early)
        self._matrices = tuple(matrices)

    def logits(self, deltas: Tensor) -> Tensor:
        """Logits [labels, V] with `deltas` [M, d] added."""
        pairs = zip(self._matrices, deltas, strict=True)
        with forward_hooks(*((matrix.module, adding_hook(delta, self._window.facts)) for matrix, delta in pairs)):
            return self._window.unchanged()


class JointLoss:
    """The loss, the current weight of its NLL term, and whether the search has converged."""

    def __init__(self, targets: Tensor, lengths: Tensor, settings: JointSettings) -> None:
        self._terms = Terms(targets)
        self._lengths = lengths  # of the starts, [M]
        self._settings = settings
        self._factor = settings.nll_loss_factor

    def __call__(self, logits: Tensor, deltas: Tensor) -> tuple[Tensor, bool]:
        """The loss of logits [N T + 1, V] with deltas [M, d], and whether the search has converged."""
        settings = self._settings
        scores, wrong, drift = self._terms(logits)
        drift = settings.kl_factor * drift
        decay = settings.v_weight_decay * (deltas.norm(dim=1) / self._lengths**2).sum()
        loss: Tensor = self._factor * wrong + drift + decay.to(wrong.device)
        reached = self._terms.all_likeliest(scores.detach())
        self._factor = settings.nll_loss_factor * (EASED if reached else 1.0)
        return loss, float(loss.detach()) < LOSS_TOLERANCE or (reached and float(drift.detach()) <= SMALL_DRIFT)


def optimize_jointly(
    window: JointWindow,
    targets: Tensor,
    starts: Tensor,
    settings: JointSettings,
    record: Callable[[Tensor], None],
) -> JointSearchResult:
    """Optimize the values.

    Args:
        window: Gives the logits of N rows with T labels each, then those of the essence row.
        targets: Target ids of the N rows, [N, T].
        starts: v_s [M, d], each matrix's own output for the bare prompt.
        settings: Steps, rate, weights of the loss terms, clamp.
        record: Called with the deltas [M, d] after each step, before the clamp.
    """
    starts = starts.to(torch.promote_types(starts.dtype, torch.float32))
    lengths = starts.norm(dim=1)
    deltas = torch.zeros_like(starts, requires_grad=True)
    optimizer = torch.optim.Adam([deltas], lr=settings.v_lr)
    loss_of = JointLoss(targets, lengths, settings)
    value = float("nan")
    for step in range(settings.v_num_grad_steps):
        loss, done = loss_of(window.logits(deltas), deltas)
        value = float(loss.detach())
        if done or step == settings.v_num_grad_steps - 1:
            break
        (deltas.grad,) = torch.autograd.grad(loss, deltas)
        optimizer.step()
        record(deltas)
        with torch.no_grad():
            sizes, limits = deltas.norm(dim=1), settings.clamp_norm_factor * lengths
            deltas.mul_(torch.where(sizes > limits, limits / sizes, 1.0)[:, None])
    return JointSearchResult(starts + deltas.detach(), value, step)
