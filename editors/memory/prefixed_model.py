"""Answers that read something else first: a causal model on `prefix` + the prompt, for textual memories."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from editors.core.errors import ContextOverflow
from editors.core.typing import PreTrainedModel
from editors.memory.memory_model import Tokens
from editors.models.compat import forward_with_cache, returned_cache


@dataclass(frozen=True)
class PrefixedModel:
    """Who answers a prompt, after reading what.

    Attributes:
        model: A causal model with the base's vocabulary.
        prefix: Tokens that stand before the prompt's own; at least one.
        entry: Number of the memory entry, for diagnostics.
        bos: Left out where the prompt begins with it: the prefix has its own. What the prompt's BOS would predict is
            then read at the prefix's last token.
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
        found: Tensor = self.model(input_ids=ids).logits[0, ids.shape[1] - len(tokens) :]
        return found

    @torch.no_grad()
    def write(self, context: Tokens, limit: int, ends: frozenset[int]) -> list[int]:
        """Greedy continuation, with a cache.

        Raises:
            ContextOverflow: There is no room for a single new token.
        """
        ids = self._ids(context, new=1)
        written: list[int] = []
        cache = None
        for _ in range(min(limit, self.room + len(self.prefix) - ids.shape[1])):
            result = forward_with_cache(self.model, ids, cache)
            cache = returned_cache(result)
            written.append(int(result.logits[0, -1].argmax()))
            if written[-1] in ends:
                break
            ids = ids.new_tensor([written[-1:]])
        return written

    def _ids(self, tokens: Tokens, new: int = 0) -> Tensor:
        """Prefix and prompt [1, length], with room for `new` tokens more."""
        kept = tokens[1:] if tokens and tokens[0] == self.bos else tokens
        self.require_room(len(kept) + new)
        return torch.tensor([self.prefix + kept], device=self.model.device)

    @property
    def room(self) -> int:
        """Tokens that the model's context leaves after the prefix."""
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30
        return int(limit) - len(self.prefix)

    def require_room(self, needed: int) -> None:
        """Refuse to cut silently."""
        if needed > self.room:
            raise ContextOverflow(
                f"{len(self.prefix)} tokens of memory and {needed} of the prompt exceed the model's context of "
                f"{self.room + len(self.prefix)}; cutting either would change the question"
            )
