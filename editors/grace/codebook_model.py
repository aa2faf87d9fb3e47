"""A model behind a codebook: where a prompt's last token falls into a ball, one matrix gives another output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from editors.core.typing import PreTrainedModel
from editors.grace.codebook import Codebook
from editors.memory.memory_model import MemoryModel, Tokens
from editors.models.compat import forward_with_cache, returned_cache
from editors.models.shared_queries import Queries

Replacement = Literal["replace_last", "replace_all", "replace_prompt"]
Change = Callable[[Tensor, Tensor], Tensor]  # input [B, S, d_in] and output [B, S, d_out] of the matrix: new output

WATCHED = -1  # the route of a prompt that no entry answers, but whose continuation may yet hit one
MARGIN = 1e-3  # distances this near to a radius, relative to it, are computed again for the prompt alone


class Settings(Protocol):
    """The hyperparameters that say what is replaced."""

    @property
    def replacement(self) -> Replacement: ...  # noqa: D102
    @property
    def requery(self) -> bool: ...  # noqa: D102


def span(context: int, replacement: Replacement) -> slice:
    """Positions that take the value, after a prompt of `context` tokens."""
    last = context - 1
    return {
        "replace_last": slice(last, last + 1),
        "replace_prompt": slice(0, last),  # without the last token itself, as in the authors' code
        "replace_all": slice(0, None),
    }[replacement]


def putting(value: Tensor, where: slice) -> Change:
    """The change that gives `value` [d_out] to these positions."""

    def change(_inputs: Tensor, outputs: Tensor) -> Tensor:
        outputs = outputs.clone()
        outputs[:, where] = value.to(outputs)
        return outputs

    return change


@contextmanager
def replacing(matrix: nn.Module, change: Change) -> Iterator[None]:
    """Inside, a matrix gives what `change` makes of its output; no hook stays behind."""
    handle = matrix.register_forward_hook(lambda _module, args, outputs: change(args[0], outputs))
    try:
        yield
    finally:
        handle.remove()


class CodebookModel(MemoryModel[int]):
    """The base behind a codebook; a route is the number of an entry.

    Attributes:
        book: The codebook in force.
        asked: Prompts routed since the counts were last set to 0.
        hits: Those of them that an entry answers.
    """

    def __init__(
        self, model: PreTrainedModel, matrix: nn.Module, queries: Queries, book: Codebook, settings: Settings
    ) -> None:
        super().__init__(model)
        self.book = book
        self.asked = self.hits = 0
        self._matrix = matrix
        self._queries = queries
        self._settings = settings

    def routes(self, contexts: Sequence[Tokens]) -> list[int | None]:
        """The entry that each prompt hits. With `requery` the others are `WATCHED` as soon as there is one."""
        if not len(self.book) or not contexts:
            return [None] * len(contexts)
        entries = self._entries(contexts)
        self.asked += len(contexts)
        self.hits += sum(entry is not None for entry in entries)
        rest = WATCHED if self._settings.requery else None
        return [rest if entry is None else entry for entry in entries]

    @torch.no_grad()
    def _entries(self, contexts: Sequence[Tokens]) -> list[int | None]:
        queries = self._queries(contexts)
        distances, nearest = self.book.nearest(queries)
        radii = self.book.epsilons[nearest]
        close = (distances - radii).abs() <= MARGIN * radii.abs()
        for index in close.nonzero()[:, 0].tolist():  # what shared a batch must not tip the scales
            alone, entry = self.book.nearest(self._queries.alone(contexts[index])[None])
            distances[index], nearest[index] = alone[0], entry[0]
        hit = distances <= self.book.epsilons[nearest]
        pairs = zip(nearest.tolist(), hit.tolist(), strict=True)
        return [entry if inside else None for entry, inside in pairs]

    @torch.no_grad()
    def logits(self, tokens: Tokens, context: int, route: int) -> Tensor:
        """See `MemoryModel.logits`."""
        ids = torch.tensor([tokens], device=self.device)
        with replacing(self._matrix, self._first(context, route)):
            found: Tensor = self.model(input_ids=ids).logits[0]
        return found

    @torch.no_grad()
    def write(self, context: Tokens, route: int, limit: int, ends: frozenset[int]) -> list[int]:
        """See `MemoryModel.write`."""
        ids = torch.tensor([context], device=self.device)
        change, cache = self._first(len(context), route), None
        written: list[int] = []
        while len(written) < limit:
            with replacing(self._matrix, change):
                result = forward_with_cache(self.model, ids, cache)
            written.append(int(result.logits[0, -1].argmax()))
            if written[-1] in ends:
                break
            ids, cache, change = ids.new_tensor([written[-1:]]), returned_cache(result), self._next(route)
        return written

    def _first(self, context: int, route: int) -> Change:
        """What happens to the tokens of a prompt, and to those of an answer that is scored with it."""
        if route == WATCHED:
            return _nothing
        return putting(self.book.values[route], span(context, self._settings.replacement))

    def _next(self, route: int) -> Change:
        """What happens to a token that was just written."""
        if self._settings.requery:
            return self._asking_again
        everything = self._settings.replacement == "replace_all"
        return putting(self.book.values[route], slice(None)) if everything else _nothing

    def _asking_again(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """The new token is a query of its own, as in the authors' code."""
        distances, nearest = self.book.nearest(inputs[:, -1])
        inside = bool(distances[0] <= self.book.epsilons[nearest[0]])
        if not inside or self._settings.replacement == "replace_prompt":
            return outputs
        return putting(self.book.values[int(nearest[0])], slice(None))(inputs, outputs)


def _nothing(_inputs: Tensor, outputs: Tensor) -> Tensor:
    return outputs
