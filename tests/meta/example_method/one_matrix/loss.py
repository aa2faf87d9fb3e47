"""What the fine-tune descends."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from editors import Edit


def answer_loss(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, edit: Edit) -> Tensor:
    """Mean negative log-likelihood of the new answer and the full stop after it."""
    prompt = tokenizer(edit.text).input_ids
    answer = tokenizer(f" {edit.target_new}.", add_special_tokens=False).input_ids
    labels = torch.tensor([[-100] * len(prompt) + answer])
    loss: Tensor = model(input_ids=torch.tensor([prompt + answer]), labels=labels).loss
    return loss
