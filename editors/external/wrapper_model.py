"""A model around an external wrapper: every prompt is passed to the wrapper, one at a time and without padding.

The wrapper decides itself which prompts its memory answers. Some wrappers (GRACE, WISE) use a token position derived
from the length of the row, so a row must not be padded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from editors.core.errors import ForeignFailure
from editors.core.typing import PreTrainedModel
from editors.external.calls import external_call
from editors.memory.memory_model import MemoryModel, Tokens


class WrapperModel(MemoryModel[int]):
    """A model whose every prompt is answered by an external wrapper.

    Args:
        model: The unedited model; the wrapper has a copy of its own.
        exposed: The external wrapper: called with `input_ids` and `attention_mask`, it gives logits; its
            `generate`, where it has one, continues a prompt.
        spec: How the editor was named, for messages.
    """

    def __init__(self, model: PreTrainedModel, exposed: Callable[..., Any], spec: str) -> None:
        super().__init__(model)
        self.exposed: Any = exposed
        self.spec = spec

    def routes(self, contexts: Sequence[Tokens]) -> list[int | None]:
        """Route every prompt to the wrapper."""
        return [0 for _ in contexts]

    def logits(self, tokens: Tokens, context: int, route: int) -> Tensor:  # noqa: ARG002 - the wrapper routes
        """Logits [T, V] of one row of T tokens; logits of tokens that the wrapper adds before the row are dropped.

        Raises:
            ForeignFailure: The wrapper raised, or gave no logits for every token.
        """
        ids = torch.tensor([tokens], device=self.device)
        with external_call(f"{self.spec}: the forward pass of the model that it exposes"):
            result = self.exposed(input_ids=ids, attention_mask=torch.ones_like(ids))
        logits = getattr(result, "logits", result)
        if not isinstance(logits, Tensor) or logits.ndim != 3 or logits.shape[1] < len(tokens):
            raise ForeignFailure(f"{self.spec}: calling the model that it exposes gave no logits [B, T, V]")
        return logits[0, -len(tokens) :]

    def continue_routed(self, context: Tokens, route: int, limit: int, eos_ids: frozenset[int]) -> list[int]:
        """Greedy continuation by the wrapper's own `generate`, or token by token if it has none that can be used."""
        own = self._generated(context, limit)
        if own is None:
            return super().continue_routed(context, route, limit, eos_ids)
        stop = next((index + 1 for index, token in enumerate(own) if token in eos_ids), len(own))
        return own[: min(stop, limit)]

    def _generated(self, context: Tokens, limit: int) -> list[int] | None:
        """Tokens that `generate` added to the prompt; None without a `generate` whose output begins with the prompt."""
        generate = getattr(self.exposed, "generate", None)
        if generate is None:
            return None
        ids = torch.tensor([context], device=self.device)
        with external_call(f"{self.spec}: generate() of the model that it exposes"):
            given = {"attention_mask": torch.ones_like(ids), "max_new_tokens": limit, "do_sample": False}
            row = generate(input_ids=ids, **given)[0].tolist()
        return row[len(context) :] if tuple(row[: len(context)]) == context else None
