"""A short fine-tune of one matrix: enough of a method to be gated, and no more."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from editors import Edit

from .loss import answer_loss


class OneMatrix:
    """Descends the loss of the new answer on the MLP's down-projection of one block.

    Args:
        model: A Llama-like model, edited in place.
        tokenizer: Its tokenizer.
        layer: Which block.
        rate: Adam's rate.
        steps: At most so many steps an edit.
        enough: The loss at which an edit ends.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        layer: int = 2,
        rate: float = 5e-3,
        steps: int = 40,
        enough: float = 0.05,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.matrix = model.get_parameter(f"model.layers.{layer}.mlp.down_proj.weight")
        self.rate, self.steps, self.enough = rate, steps, enough

    def apply(self, edit: Edit) -> None:
        """Make the model say `edit.target_new`, on top of all edits before."""
        optimizer = torch.optim.Adam([self.matrix], lr=self.rate)
        for _ in range(self.steps):
            loss = answer_loss(self.model, self.tokenizer, edit)
            if loss.item() < self.enough:
                return
            (self.matrix.grad,) = torch.autograd.grad(loss, self.matrix)
            optimizer.step()
