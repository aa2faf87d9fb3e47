"""A model with a codebook: if a prompt's query is inside a ball, the output of one matrix is replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from editors.core.typing import PreTrainedModel
from editors.grace.codebook import Codebook
from editors.memory.memory_model import MemoryModel, Tokens
from editors.models.greedy import generate_greedily
from editors.models.hooks import forward_hooks
from editors.models.shared_queries import Queries

Replacement = Literal["replace_last", "replace_all", "replace_prompt"]
Change = Callable[[Tensor, Tensor], Tensor]  # input [B, S, d_in] and output [B, S, d_out] of the matrix: new output

WATCHED = -1  # route of a prompt that hits no entry, but whose continuation may hit one (`requery`)
MARGIN = 1e-3  # distances this near to a radius, relative to it, are recomputed for the prompt alone


class Settings(Protocol):
    """The hyperparameters that say what is replaced."""

    @property
    def replacement(self) -> Replacement: ...  # noqa: D102
    @property
    def requery(self) -> bool: ...  # noqa: D102


def span(context: int, replacement: Replacement) -> slice:
    """Positions at which the value replaces the output, for a prompt of `context` tokens."""
    last = context - 1
    return {
        "replace_last": slice(last, last + 1),
        "replace_prompt": slice(0, last),  # without the last token itself, as in the authors' code
        "replace_all": slice(0, None),
    }[replacement]


def replacement_of(value: Tensor, where: slice) -> Change:
    """A change that sets the output to `value` [d_out] at these positions."""

    def change(_inputs: Tensor, outputs: Tensor) -> Tensor:
        outputs = outputs.clone()
        outputs[:, where] = value.to(outputs)
        return outputs

    return change


def changed_output(matrix: nn.Module, change: Change) -> AbstractContextManager[None]:
    """Apply a change to the output of a matrix, in the block only."""
    return forward_hooks((matrix, lambda _module, args, outputs: change(args[0], outputs)))


class CodebookModel(MemoryModel[int]):
    """The base model with a codebook; a route is the index of an entry.

    Attributes:
        book: The current codebook.
        routed: Number of prompts routed since the counts were reset.
        hits: Number of these that hit an entry.
    """

    def __init__(
        self, model: PreTrainedModel, matrix: nn.Module, queries: Queries, book: Codebook, settings: Settings
    ) -> None:
        super().__init__(model)
        self.book = book
        self.routed = self.hits = 0
        self._matrix = matrix
        self._queries = queries
        self._settings = settings

    def routes(self, contexts: Sequence[Tokens]) -> list[int | None]:
        """The entry that each prompt hits. With `requery` the others are `WATCHED` as soon as there is one."""
        if not len(self.book) or not contexts:
            return [None] * len(contexts)
        entries = self._entries(contexts)
        self.routed += len(contexts)
        self.hits += sum(entry is not None for entry in entries)
        rest = WATCHED if self._settings.requery else None
        return [rest if entry is None else entry for entry in entries]

    @torch.no_grad()
    def _entries(self, contexts: Sequence[Tokens]) -> list[int | None]:
        queries = self._queries(contexts)
        distances, nearest = self.book.nearest(queries)
        radii = self.book.epsilons[nearest]
        close = (distances - radii).abs() <= MARGIN * radii.abs()
        for index in close.nonzero()[:, 0].tolist():  # the decision must not depend on the batch
            alone, entry = self.book.nearest(self._queries.alone(contexts[index])[None])
            distances[index], nearest[index] = alone[0], entry[0]
        hit = distances <= self.book.epsilons[nearest]
        pairs = zip(nearest.tolist(), hit.tolist(), strict=True)
        return [entry if inside else None for entry, inside in pairs]

    @torch.no_grad()
    def logits(self, tokens: Tokens, context: int, route: int) -> Tensor:
        """See `MemoryModel.logits`."""
        ids = torch.tensor([tokens], device=self.device)
        with changed_output(self._matrix, self._first(context, route)):
            found: Tensor = self.model(input_ids=ids).logits[0]
        return found

    def continue_routed(self, context: Tokens, route: int, limit: int, eos_ids: frozenset[int]) -> list[int]:
        """See `MemoryModel.continue_routed`."""

        def changed(step: int) -> AbstractContextManager[None]:
            return changed_output(self._matrix, self._next(route) if step else self._first(len(context), route))

        return generate_greedily(self.model, torch.tensor([context], device=self.device), limit, eos_ids, changed)

    def _first(self, context: int, route: int) -> Change:
        """The change for the tokens of a prompt, and of an answer that is scored with it."""
        if route == WATCHED:
            return _nothing
        return replacement_of(self.book.values[route], span(context, self._settings.replacement))

    def _next(self, route: int) -> Change:
        """The change for a generated token."""
        if self._settings.requery:
            return self._requeried
        everything = self._settings.replacement == "replace_all"
        return replacement_of(self.book.values[route], slice(None)) if everything else _nothing

    def _requeried(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """Query the codebook with the new token too, as in the authors' code."""
        distances, nearest = self.book.nearest(inputs[:, -1])
        inside = bool(distances[0] <= self.book.epsilons[nearest[0]])
        if not inside or self._settings.replacement == "replace_prompt":
            return outputs
        return replacement_of(self.book.values[int(nearest[0])], slice(None))(inputs, outputs)


def _nothing(_inputs: Tensor, outputs: Tensor) -> Tensor:
    return outputs
