"""Answers that read something else first: a causal model on `prefix` + the prompt, for textual memories."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from editors.parts.errors import ContextOverflow
from editors.parts.types import PreTrainedModel
from editors.parts.wrapped import Tokens


@dataclass(frozen=True)
class Redirect:
    """Who answers a prompt, after reading what.

    Attributes:
        model: A causal model with the base's vocabulary.
        prefix: Tokens that stand before the prompt's own.
        entry: Number of the memory entry, for diagnostics.
    """

    model: PreTrainedModel
    prefix: Tokens
    entry: int = 0

    @torch.no_grad()
    def logits(self, tokens: Tokens) -> Tensor:
        """Logits [T, V] at the T tokens after the prefix.

        Raises:
            ContextOverflow: Prefix and tokens exceed the model's context.
        """
        self.require_room(len(tokens))
        ids = torch.tensor([self.prefix + tokens], device=self.model.device)
        found: Tensor = self.model(input_ids=ids).logits[0, len(self.prefix) :]
        return found

    @torch.no_grad()
    def write(self, context: Tokens, limit: int, ends: frozenset[int]) -> list[int]:
        """Greedy continuation, with a cache.

        Raises:
            ContextOverflow: There is no room for a single new token.
        """
        self.require_room(len(context) + 1)
        ids = torch.tensor([self.prefix + context], device=self.model.device)
        written: list[int] = []
        cache = None
        for _ in range(min(limit, self.room - len(context))):
            result = self.model(input_ids=ids, past_key_values=cache, use_cache=True)
            cache = result.past_key_values
            written.append(int(result.logits[0, -1].argmax()))
            if written[-1] in ends:
                break
            ids = ids.new_tensor([written[-1:]])
        return written

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
