"""Inputs of weight matrices and gradients of a loss by their outputs, by one pass forward and one back.

The gradient of a loss by a matrix W is a sum over tokens of rank-one terms: what went in, x_t, times the gradient
by what came out, delta_t. Methods that learn from gradients (MEND) or solve with them work on these rows. The weights
stay frozen, so no gradient of the size of a weight is ever made, and nothing below the lowest matrix is differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.models.architecture import Architecture
from editors.models.hooks import forward_hooks
from editors.models.projection import Matrix
from editors.models.tokens import Row, encode, target_ids
from editors.models.trace import pad

IGNORED = -100  # label of a token that is ignored in the loss


@dataclass(frozen=True)
class Batch:
    """Tokenized texts with the labels to learn.

    Attributes:
        ids, mask: Token ids and attention mask, [B, T].
        labels: The token ids of the targets at their positions in `ids`, -100 elsewhere, [B, T].
    """

    ids: Tensor
    mask: Tensor
    labels: Tensor

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], device: torch.device) -> Self:
        """Pairs (prompt, target), padded on the right.

        Raises:
            EditError: A target has no tokens.
        """
        starts = [encode(tokenizer, prompt) for prompt, _ in pairs]
        targets = [target_ids(tokenizer, *pair) for pair in pairs]
        rows = [Row((*start, *target), 0) for start, target in zip(starts, targets, strict=True)]
        ids, mask = pad(rows, device)
        labels = torch.full_like(ids, IGNORED)
        for row, (start, target) in enumerate(zip(starts, targets, strict=True)):
            labels[row, len(start) : len(start) + len(target)] = torch.tensor(target, device=device)
        return cls(ids, mask, labels)


@dataclass(frozen=True)
class Gradients:
    """Inputs and output gradients of one matrix.

    Attributes:
        inputs: x, [B, T, in].
        deltas: Gradient of the loss by the output, [B, T, out].
    """

    inputs: Tensor
    deltas: Tensor


def gradients(
    model: PreTrainedModel, matrices: Sequence[Matrix], batch: Batch, *, separately: bool = False
) -> tuple[Tensor, list[Gradients]]:
    """Loss and, for each matrix, inputs and output gradients.

    Args:
        model: Its parameters need no gradient.
        matrices: Matrices of its blocks, each used once in a pass.
        batch: The texts.
        separately: Each text has a loss of its own, the mean over its target tokens, and their sum is what is
            differentiated; else there is one loss, the mean over all target tokens of the batch.
    """
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    hooks = [(matrix.module, _tap(matrix.path, inputs, outputs)) for matrix in matrices]
    with forward_hooks(*hooks), torch.enable_grad():
        loss = _loss(model, batch, separately=separately)
    deltas = torch.autograd.grad(loss, [outputs[matrix.path] for matrix in matrices])
    return loss.detach(), [
        Gradients(inputs[matrix.path], delta) for matrix, delta in zip(matrices, deltas, strict=True)
    ]


def _tap(path: str, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> Callable[..., Tensor]:
    """Record inputs and outputs; the output of the lowest matrix becomes a leaf, where the backward pass ends."""

    def hook(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        inputs[path] = args[0].detach()
        outputs[path] = output if output.requires_grad else output.detach().requires_grad_()
        return outputs[path]

    return hook


def _loss(model: PreTrainedModel, batch: Batch, *, separately: bool) -> Tensor:
    architecture = Architecture(model)
    states = architecture.trunk(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).last_hidden_state
    labels = batch.labels.to(states.device)
    rows, steps = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)  # the token before predicts it
    logits = at_least_float32(architecture.head(states[rows, steps]))
    losses = cross_entropy(logits, labels[rows, steps + 1].to(logits.device), reduction="none")
    if not separately:
        return losses.mean()
    counts = torch.bincount(rows, minlength=len(batch.ids))
    return (losses / counts[rows].to(losses.device)).sum()


def at_least_float32(logits: Tensor) -> Tensor:
    """Logits in float32 if they are in half precision."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
