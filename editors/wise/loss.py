"""What an edit of WISE minimizes, as a function of the side memory W' (arXiv:2405.14768, section 2.3).

    Δ(x) = mean over the tokens of x of ‖φ(W' a) - φ(W a)‖₂,     a = the matrix's input, φ = the model's activation

    L  = -(1/T) Σ_j log p(t_j | prompt, t_<j; W')  +  L_a
    L_a = [Δ(x_i) - α]₊ + [β - Δ(x_e)]₊ + [γ - (Δ(x_e) - Δ(x_i))]₊                             (equation 5)

x_e are the edited prompt and answer after several contexts, x_i is a prompt that must not change. The blocks below the
matrix are the same for every W'; they are computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from editors.models.architecture import Architecture
from editors.models.hooks import forward_pre_hooks
from editors.models.projection import Matrix
from editors.models.suffix_forward import UpperBlocks
from editors.models.tokens import Row
from editors.models.trace import Trace

Activation = Callable[[Tensor], Tensor]


class Margins(Protocol):
    """The hyperparameters of L_a."""

    @property
    def alpha(self) -> float: ...  # noqa: D102
    @property
    def beta(self) -> float: ...  # noqa: D102
    @property
    def gamma(self) -> float: ...  # noqa: D102


def distances(matrix: Matrix, activation: Activation, inputs: Tensor, weight: Tensor) -> Tensor:
    """‖φ(W' a) - φ(W a)‖₂ of each input [..., d_in] for W' in stored order, [...]."""
    bias = matrix.module.bias if isinstance(matrix.module.bias, Tensor) else None
    bias = None if bias is None else bias.to(inputs)
    new, old = (
        activation(functional.linear(inputs, matrix.stored(each.to(inputs)), bias)) for each in (weight, matrix.weight)
    )
    found: Tensor = (new - old).norm(dim=-1)
    return found


class EditLoss:
    """The loss of one edit.

    Args:
        architecture: The model's.
        matrix: The matrix that the side memory copies, in block `layer`.
        layer: That block.
        rows: The edited prompt and its whole answer after several contexts, labeled where the answer is predicted.
        target: The answer's token ids.
        other: A prompt that must not change.
        activation: φ.
    """

    def __init__(
        self,
        architecture: Architecture,
        matrix: Matrix,
        layer: int,
        *,
        rows: Sequence[Row],
        target: Sequence[int],
        other: Row,
        activation: Activation,
    ) -> None:
        trace = Trace(architecture, [*rows, other], ())
        trace.drop_cache()
        self._upper = UpperBlocks(trace, layer)
        self._matrix = matrix
        self._activation = activation
        self._target = torch.tensor([list(target)] * len(rows), device=trace.ids.device)
        self._counted = self.counted(trace.mask)
        self._inputs = self._read_inputs()

    @torch.no_grad()
    def _read_inputs(self) -> Tensor:
        """Inputs of the matrix, [B, length, d_in]."""
        seen: list[Tensor] = []
        with forward_pre_hooks((self._matrix.module, lambda _module, args: seen.append(args[0]))):
            self._upper.states({})
        return seen[0]

    def counted(self, mask: Tensor) -> Tensor:
        """Which tokens Δ is a mean over, of the mask [B, length]."""
        return mask

    def answer(self, weight: Tensor) -> Tensor:
        """The first term: mean over the rows of the mean over the answer's T tokens."""
        logits = self._upper.logits({self._matrix.parameter: weight.to(self._matrix.weight.dtype)})
        scores = logits.to(weight.dtype).log_softmax(-1).reshape(*self._target.shape, -1)
        return -scores.gather(-1, self._target[..., None].to(scores.device)).mean().to(weight.device)

    def activations(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Δ of the edit's rows [B - 1], and of the other prompt."""
        each = distances(self._matrix, self._activation, self._inputs.to(weight.dtype), weight)
        counted = self._counted.to(each.device)  # the mask is where the embedding is
        means = (each * counted).sum(1) / counted.sum(1)
        return means[:-1], means[-1]

    def margin(self, inside: Tensor, outside: Tensor, margins: Margins) -> Tensor:
        """L_a; each of its terms is the mean over the rows in which it is not 0."""
        terms = (outside - margins.alpha, margins.beta - inside, margins.gamma - (inside - outside))
        positive = [term.reshape(-1)[term.reshape(-1) > 0] for term in terms]
        return torch.stack([each.mean() if len(each) else inside.new_zeros(()) for each in positive]).sum()
