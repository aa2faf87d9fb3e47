"""Value optimization of ROME, R-ROME, MEMIT and AlphaEdit: the vector at the fact token that gives the new answer.

    v* = v0 + argmin_δ  -(1/N) Σ_j (1/T) Σ_i log p_δ(t_i | row j)
                        + κ KL(p_δ(. | "<subject> is a") || p_0)  +  λ ‖δ‖ / ‖v0‖²

over N rows (the prompt behind N contexts) and T target tokens (Meng et al. 2022, arXiv:2202.05262, eq. 4), by
Adam, with δ kept within c ‖v0‖.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from editors.models.cached_window import Window

LOSS_TOLERANCE = 0.05  # a loss below this ends the search, as in the authors' code


class Settings(Protocol):
    """The hyperparameters that the search reads."""

    @property
    def v_num_grad_steps(self) -> int: ...  # noqa: D102
    @property
    def v_lr(self) -> float: ...  # noqa: D102
    @property
    def v_weight_decay(self) -> float: ...  # noqa: D102
    @property
    def clamp_norm_factor(self) -> float: ...  # noqa: D102
    @property
    def kl_factor(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class SearchResult:
    """Outcome of a search.

    Attributes:
        value: v* = v0 + δ, [d], float32 or wider.
        loss: Last loss computed.
        steps: Number of Adam steps taken.
        change: ‖δ‖ / ‖v0‖.
        clamped: Whether the clamp shortened δ after the last step.
    """

    value: Tensor
    loss: float
    steps: int
    change: float
    clamped: bool


def search_value(
    window: Window,
    targets: Tensor,
    start: Tensor,
    settings: Settings,
    record: Callable[[str, Tensor], None],
    *,
    patience: int | None = None,
) -> SearchResult:
    """Optimize v*.

    Args:
        window: Gives the logits of N rows with T labels each, then those of the essence row.
        targets: Target ids of the N rows, [N, T].
        start: v0 [d], the site's own output for the bare prompt.
        settings: Steps, rate, weights of the loss terms, clamp.
        record: Called with `delta_after_adam` after each step, before the clamp.
        patience: End the search when so many losses had every target as the likeliest token of every row; none: do not.

    Returns:
        v0 + δ with the last loss. With one step δ stays 0: the last loss is never followed by a step.
    """
    start = start.to(torch.promote_types(start.dtype, torch.float32))
    length = start.norm()
    delta = torch.zeros_like(start, requires_grad=True)
    optimizer = torch.optim.Adam([delta], lr=settings.v_lr)
    loss_of = Loss(targets, float(length), settings)
    value, clamped, likeliest = float("nan"), False, 0
    for step in range(settings.v_num_grad_steps):
        loss = loss_of(window.logits(delta), delta)
        value = float(loss.detach())
        likeliest += patience is not None and loss_of.all_likeliest()
        if value < LOSS_TOLERANCE or likeliest == patience or step == settings.v_num_grad_steps - 1:
            break
        (delta.grad,) = torch.autograd.grad(loss, delta)
        optimizer.step()
        record("delta_after_adam", delta)
        with torch.no_grad():
            limit = settings.clamp_norm_factor * length
            size = delta.norm()
            clamped = bool(size > limit)
            if clamped:
                delta.mul_(limit / size)
    delta = delta.detach()
    return SearchResult(start + delta, value, step, float(delta.norm() / length), clamped)


class Terms:
    """Terms of the loss that depend on the logits: NLL of the targets, KL divergence of the essence from its start."""

    def __init__(self, targets: Tensor) -> None:
        self._targets = targets.reshape(-1, 1)  # [N T, 1]; from the first call on where the logits are
        self._essence: Tensor | None = None

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of logits [N T + 1, V]: log-probabilities, mean NLL, KL(p || p_0); the first call defines p_0."""
        scores = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
        essence, self._targets = scores[-1:], self._targets.to(scores.device)
        if self._essence is None:
            self._essence = essence.detach()
        wrong = -scores[:-1].gather(1, self._targets).mean()
        drift = kl_div(self._essence, essence, log_target=True, reduction="batchmean")
        return scores, wrong, drift

    def all_likeliest(self, scores: Tensor) -> bool:
        """Whether the target is the likeliest token at every label."""
        return torch.equal(scores[:-1].gather(1, self._targets)[:, 0], scores[:-1].amax(-1))


class Loss:
    """NLL of the targets, drift of the essence, length of δ."""

    def __init__(self, targets: Tensor, start_length: float, settings: Settings) -> None:
        self._terms = Terms(targets)
        self._decay = settings.v_weight_decay / start_length**2 if settings.v_weight_decay else 0.0
        self._kl_factor = settings.kl_factor
        self._scores: Tensor | None = None  # of the last call

    def __call__(self, logits: Tensor, delta: Tensor) -> Tensor:
        """The loss of logits [N T + 1, V]; the first call defines p_0."""
        scores, wrong, drift = self._terms(logits)
        self._scores = scores.detach()
        loss: Tensor = wrong + self._kl_factor * drift + (self._decay * delta.norm()).to(wrong.device)
        return loss

    def all_likeliest(self) -> bool:
        """Whether the last call found the target the likeliest token at every label."""
        return self._scores is not None and self._terms.all_likeliest(self._scores)
