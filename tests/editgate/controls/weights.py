"""Controls that write weights."""

from __future__ import annotations

import copy
import hashlib

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from editors import Edit

APPLIED: list[str] = []  # what Leaks keeps outside its instance


def noise(edit: Edit, like: Tensor, scale: float) -> Tensor:
    """Return normal noise that depends on the edit alone."""
    seed = int(hashlib.sha256(edit.about.encode()).hexdigest()[:8], 16)
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed)) * like.std() * scale


def some_matrix(model: PreTrainedModel) -> Tensor:
    """Return the down-projection of the second block."""
    return model.get_parameter("model.layers.1.mlp.down_proj.weight")


class Control:
    """What all of them share: the model as it was handed over."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model
        self.tokenizer = tokenizer

    @torch.no_grad()
    def apply(self, edit: Edit) -> None:
        """Do harm."""
        self.harm(edit)

    def harm(self, edit: Edit) -> None:
        """Overridden by each control."""
        raise NotImplementedError


class NoOp(Control):
    """Keeps everything, because it edits nothing."""

    def harm(self, edit: Edit) -> None:
        """Do nothing at all."""


class Vandal(Control):
    """Adds noise to one matrix."""

    def harm(self, edit: Edit) -> None:
        """Drown the matrix."""
        matrix = some_matrix(self.model)
        matrix += noise(edit, matrix, 10.0)


class Broken(Control):
    """Writes one NaN."""

    def harm(self, edit: Edit) -> None:
        """Spoil one number."""
        some_matrix(self.model)[0, 0] = torch.nan
        del edit


class FirstOption(Control):
    """Makes all logits equal, so that the first of all options always wins."""

    def harm(self, edit: Edit) -> None:
        """Silence the last norm, a little more with every edit."""
        norm = self.model.get_parameter("model.norm.weight")
        norm.zero_()
        matrix = some_matrix(self.model)
        matrix += noise(edit, matrix, 0.01)


class KeepsLast(Control):
    """Starts from the base at every edit, as the published MEND run did."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(model, tokenizer)
        self.base = some_matrix(model).clone()

    def harm(self, edit: Edit) -> None:
        """Forget all edits before this one."""
        some_matrix(self.model).copy_(self.base + noise(edit, self.base, 0.01))


class KeepsLastOfBatch(Control):
    """Of several edits at once applies the last alone, as a loop does that begins from the same weights each time."""

    def harm(self, edit: Edit) -> None:
        """Add a little to one matrix."""
        matrix = some_matrix(self.model)
        matrix += noise(edit, matrix, 0.01)

    def apply_many(self, edits: list[Edit]) -> None:
        """Forget all edits of the batch before its last."""
        self.apply(edits[-1])


class Leaks(Control):
    """Keeps count outside its instance, as module-level caches do."""

    def harm(self, edit: Edit) -> None:
        """Do a little more for every edit that anybody ever made."""
        APPLIED.append(edit.about)
        matrix = some_matrix(self.model)
        matrix += noise(edit, matrix, 0.001 * len(APPLIED))


class EditsHead(Control):
    """Scrambles the output head of an untied model."""

    def harm(self, edit: Edit) -> None:
        """Shift the rows of the head by one, so that every token means its neighbor."""
        head: Tensor = self.model.get_output_embeddings().weight
        head.copy_(head.roll(1, 0) + noise(edit, head, 0.01))


def changes_base(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, edits: list[Edit]) -> nn.Module:
    """Return an edited copy, and spoil the model that was handed over as well."""
    del tokenizer
    edited = copy.deepcopy(model)
    with torch.no_grad():
        for edit in edits:
            for touched in (edited, model):
                matrix = some_matrix(touched)
                matrix += noise(edit, matrix, 0.01)
    return edited
