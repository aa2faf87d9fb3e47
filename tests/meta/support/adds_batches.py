"""A method by which one sees how edits were cut into batches: what it adds grows with the batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from editgate.controls.weights import noise, some_matrix
from editors import Edit


def adds_batches(model: PreTrainedModel, _tokenizer: object, edits: Sequence[Edit]) -> PreTrainedModel:
    """Add noise for each edit, larger in larger batches, and shrink what was there."""
    with torch.no_grad():
        matrix = some_matrix(model)
        added = sum((noise(edit, matrix, 0.01 * len(edits)) for edit in edits), torch.zeros_like(matrix))
        matrix.mul_(0.99).add_(added)
    return model
