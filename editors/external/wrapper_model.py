"""Somebody else's wrapper in the place of a model: every prompt goes to it, each alone and without padding.

What such an object keeps, and which prompts its memory answers, is its own affair. Some of them (GRACE, WISE) look at a
position that they take from the length of the row, so a row must not be padded to the length of its neighbors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from editors.core.errors import ForeignFailure
from editors.core.typing import PreTrainedModel
from editors.external.calls import theirs
from editors.memory.memory_model import MemoryModel, Tokens


class AnsweringModel(MemoryModel[int]):
    """A wrapper that answers everything.

    Args:
        model: The unedited model; the wrapper's own copy of it is another.
        shown: What the foreign code shows: called with `input_ids` and `attention_mask`, it gives logits; its
            `generate`, where it has one, continues a prompt.
        spec: How the editor was named, for messages.
    """

    def __init__(self, model: PreTrainedModel, shown: Callable[..., Any], spec: str) -> None:
        super().__init__(model)
        self.shown: Any = shown
        self.spec = spec

    def routes(self, contexts: Sequence[Tokens]) -> list[int | None]:
        """The wrapper, for each prompt."""
        return [0 for _ in contexts]

    def logits(self, tokens: Tokens, context: int, route: int) -> Tensor:  # noqa: ARG002 - only the wrapper knows
        """Logits [T, V] of one row of T tokens; what a wrapper puts before the row is left out.

        Raises:
            ForeignFailure: The wrapper raised, or gave no logits for every token.
        """
        ids = torch.tensor([tokens], device=self.device)
        with theirs(f"{self.spec}: the forward pass of what it shows as the model"):
            result = self.shown(input_ids=ids, attention_mask=torch.ones_like(ids))
        logits = getattr(result, "logits", result)
        if not isinstance(logits, Tensor) or logits.ndim != 3 or logits.shape[1] < len(tokens):
            raise ForeignFailure(f"{self.spec}: calling what it shows as the model gave no logits [B, T, V]")
        return logits[0, -len(tokens) :]

    def write(self, context: Tokens, route: int, limit: int, ends: frozenset[int]) -> list[int]:
        """Greedy continuation by the wrapper's own `generate`, or token by token where that tells none."""
        own = self._generated(context, limit)
        if own is None:
            own = []
            while len(own) < limit and not (own and own[-1] in ends):
                own.append(int(self.logits(context + tuple(own), len(context), route)[-1].argmax()))
        stop = next((place + 1 for place, token in enumerate(own) if token in ends), len(own))
        return own[: min(stop, limit)]

    def _generated(self, context: Tokens, limit: int) -> list[int] | None:
        """What `generate` wrote after the prompt; None if it has none or its answer does not begin with the prompt."""
        generate = getattr(self.shown, "generate", None)
        if generate is None:
            return None
        ids = torch.tensor([context], device=self.device)
        with theirs(f"{self.spec}: generate() of what it shows as the model"):
            given = {"attention_mask": torch.ones_like(ids), "max_new_tokens": limit, "do_sample": False}
            row = generate(input_ids=ids, **given)[0].tolist()
        return row[len(context) :] if tuple(row[: len(context)]) == context else None
