"""The model of a memory-based method for evaluation: the unchanged base, and a memory that answers some prompts.

lm-eval calls a model in two ways: `model(ids)` on right-padded rows of prompt and answer without a mask, and
`model.generate(ids, attention_mask=...)` on left-padded prompts. In both, which memory entry answers a row is decided
from the row's prompt alone (its *context*), never from the answer that is scored, the padding, or the other rows.
`generate` knows its contexts from the mask. For `model(ids)` the caller passes the length of each context:

    with wrapped.reading([len(context) for context in contexts]):
        logits = wrapped(ids).logits

Otherwise the whole row is its context. Rows that no entry answers get the base's logits, bit-exact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor
from transformers.modeling_outputs import CausalLMOutput

from editors.core.typing import PreTrainedModel

Tokens = tuple[int, ...]
Route = TypeVar("Route")


class MemoryModel(ABC, Generic[Route]):
    """A base model with a memory; it has the part of a Hugging Face model's interface that lm-eval uses.

    Attributes:
        model: The base; never changed.
        config: The base's.
        exchanges_weights: Whether an entry is another weight of the base, which `exchanged` puts in its place.
    """

    exchanges_weights: ClassVar[bool] = False

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.config = model.config
        self.generation_config = model.generation_config
        self._contexts: list[int] | None = None
        self._lengths: list[int] | None = None

    @abstractmethod
    def routes(self, contexts: Sequence[Tokens]) -> list[Route | None]:
        """Which memory entry answers each prompt; None: the base. Each depends on its own tokens only."""

    @abstractmethod
    def logits(self, tokens: Tokens, context: int, route: Route) -> Tensor:
        """Logits [T, V] of one routed row of T tokens, the first `context` of which are the prompt."""

    def continue_routed(self, context: Tokens, route: Route, limit: int, eos_ids: frozenset[int]) -> list[int]:
        """Greedy continuation of one routed prompt: at most `limit` tokens, ending with the first of `eos_ids`.

        Here with one call of `logits` per token; memories whose model has a cache override it.
        """
        generated: list[int] = []
        while len(generated) < limit and not eos_ids.intersection(generated[-1:]):
            generated.append(int(self.logits((*context, *generated), len(context), route)[-1].argmax()))
        return generated

    def read_instead(self, context: Tokens, route: Route) -> tuple[PreTrainedModel, Tokens] | None:  # noqa: ARG002
        """Return the plain model that answers a routed prompt, and what it reads in the prompt's place.

        None, as here, if no plain model answers as `logits` and `continue_routed` do.
        """
        return None

    def exchanged(self, route: Route) -> AbstractContextManager[None]:
        """In the block the base itself answers as this entry does, so that routed rows can be run as plain ones."""
        raise NotImplementedError(f"{type(self).__name__} does not exchange weights")

    @property
    def device(self) -> torch.device:
        """Where the base is."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the base."""
        return self.model.dtype

    def eval(self) -> Self:
        """Always in eval mode."""
        return self

    def tie_weights(self, *_args: object, **_kwargs: object) -> None:
        """Nothing: lm-eval asks for it, and tying again would revert an edited head."""

    @contextmanager
    def reading(self, contexts: Sequence[int], lengths: Sequence[int] | None = None) -> Iterator[None]:
        """Set the lengths of the prompts, in tokens, for forward passes in the block.

        Args:
            contexts: Tokens of each row's prompt.
            lengths: Tokens of each whole row without padding. Without it and without a mask, padding is treated as
                text: it does not change the logits before it, but uses context that a memory may need.
        """
        self._contexts, self._lengths = list(contexts), None if lengths is None else list(lengths)
        try:
            yield
        finally:
            self._contexts = self._lengths = None

    @torch.no_grad()
    def __call__(self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> CausalLMOutput:  # noqa: ANN401 - the base's
        """Logits [B, T, V] of right-padded rows.

        Raises:
            ValueError: `reading` was called with another number of contexts than there are rows.
        """
        rows = [_real(*row) for row in zip(input_ids.tolist(), _masks(input_ids, attention_mask), strict=True)]
        ends = self._contexts if self._contexts is not None else [len(row) for row in rows]
        if len(ends) != len(rows):
            raise ValueError(f"reading() was called with {len(ends)} contexts, but there are {len(rows)} rows")
        if self._lengths is not None:
            rows = [row[:length] for row, length in zip(rows, self._lengths, strict=True)]
        routes = self.routes([row[:end] for row, end in zip(rows, ends, strict=True)])
        masked = {} if attention_mask is None else {"attention_mask": attention_mask}
        result = self.model(input_ids, **masked, **kwargs)
        logits = result.logits
        for index, route in enumerate(routes):
            if route is not None:
                at = 0 if attention_mask is None else int(attention_mask[index].argmax())  # first real token
                own = self.logits(rows[index], ends[index], route)
                logits[index, at : at + len(own)] = own.to(logits)
        return CausalLMOutput(logits=logits)

    @torch.no_grad()
    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor:  # noqa: ANN401 - the base's
        """Greedy continuations of left-padded prompts [B, T]: ids [B, T + new], padded on the right.

        Raises:
            ValueError: Sampling or beam search is requested: a memory generates greedily only.
        """
        if kwargs.get("do_sample") or kwargs.get("num_beams", 1) != 1:
            raise ValueError("a model with a memory generates greedily only: do_sample=False, num_beams=1")
        contexts = [_real(*row) for row in zip(input_ids.tolist(), _masks(input_ids, attention_mask), strict=True)]
        routes = self.routes(contexts)
        limit = _new_tokens(input_ids.shape[1], kwargs)
        rows: list[list[int]] = [[] for _ in contexts]
        if None in routes:
            masked = {} if attention_mask is None else {"attention_mask": attention_mask}
            generate: Any = self.model.generate  # transformers types it as a tensor's method
            written = generate(input_ids, **masked, **kwargs)
            rows = written[:, input_ids.shape[1] :].tolist()
        ends = self._eos_ids(kwargs)
        for index, route in enumerate(routes):
            if route is not None:
                rows[index] = self.continue_routed(contexts[index], route, limit, ends)
        return torch.cat([input_ids, self._padded(rows, input_ids)], dim=1)

    def _padded(self, rows: Sequence[Sequence[int]], like: Tensor) -> Tensor:
        pad = self.generation_config.pad_token_id
        ends = self._eos_ids({})
        filler = pad if pad is not None else min(ends, default=0)
        width = max(map(len, rows), default=0)
        return like.new_tensor([[*row, *[filler] * (width - len(row))] for row in rows]).reshape(len(rows), width)

    def _eos_ids(self, arguments: dict[str, Any]) -> frozenset[int]:
        ends = arguments.get("eos_token_id", self.generation_config.eos_token_id)
        return frozenset(ends if isinstance(ends, (list, tuple)) else [] if ends is None else [int(ends)])


def _masks(ids: Tensor, mask: Tensor | None) -> list[list[int]]:
    masks: list[list[int]] = (torch.ones_like(ids) if mask is None else mask).tolist()
    return masks


def _real(row: Sequence[int], mask: Sequence[int]) -> Tokens:
    return tuple(token for token, kept in zip(row, mask, strict=True) if kept)


def _new_tokens(width: int, arguments: dict[str, Any]) -> int:
    if arguments.get("max_new_tokens") is not None:
        return int(arguments["max_new_tokens"])
    return int(arguments.get("max_length", width + 20)) - width
