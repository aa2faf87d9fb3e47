"""A causal model that reads a fixed prefix before every prompt, for memories of text."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from editors.core.errors import ContextOverflow
from editors.core.typing import PreTrainedModel
from editors.memory.memory_model import Tokens
from editors.models.greedy import generate_greedily


@dataclass(frozen=True)
class PrefixedModel:
    """A causal model and the prefix that it reads before a prompt.

    Attributes:
        model: A causal model with the base's vocabulary.
        prefix: Tokens before the prompt's own; at least one.
        entry: Index of the memory entry, for diagnostics.
        bos: BOS id to drop from the start of the prompt, because the prefix has its own. The logits of the prompt's BOS
            are then those of the prefix's last token.
    """

    model: PreTrainedModel
    prefix: Tokens
    entry: int = 0
    bos: int | None = None

    @torch.no_grad()
    def logits(self, tokens: Tokens) -> Tensor:
        """Logits [T, V] of a prompt of T tokens after the prefix.

        Raises:
            ContextOverflow: Prefix and tokens exceed the model's context.
        """
        ids = self._ids(tokens)
        logits: Tensor = self.model(input_ids=ids).logits[0, ids.shape[1] - len(tokens) :]
        return logits

    def generate(self, context: Tokens, limit: int, eos_ids: frozenset[int]) -> list[int]:
        """Greedy continuation, with a cache.

        Raises:
            ContextOverflow: No context remains for a single new token.
        """
        ids = self._ids(context, new=1)
        fitting = self.remaining_context + len(self.prefix) - ids.shape[1]
        return generate_greedily(self.model, ids, min(limit, fitting), eos_ids)

    def read(self, tokens: Tokens) -> Tokens:
        """Return what the model reads for a prompt: the prefix, and the prompt without a BOS of its own."""
        return self.prefix + (tokens[1:] if tokens and tokens[0] == self.bos else tokens)

    def _ids(self, tokens: Tokens, new: int = 0) -> Tensor:
        """Prefix and prompt [1, length], checking that `new` more tokens fit."""
        read = self.read(tokens)
        self.check_fits(len(read) - len(self.prefix) + new)
        return torch.tensor([read], device=self.model.device)

    @property
    def remaining_context(self) -> int:
        """Tokens that the model's context leaves after the prefix."""
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30
        return int(limit) - len(self.prefix)

    def check_fits(self, needed: int) -> None:
        """Raise ContextOverflow if a prompt does not fit; it is never truncated."""
        if needed > self.remaining_context:
            raise ContextOverflow(
                f"{len(self.prefix)} tokens of memory and {needed} of the prompt exceed the model's context of "
                f"{self.remaining_context + len(self.prefix)}; truncating either would change the question"
            )
