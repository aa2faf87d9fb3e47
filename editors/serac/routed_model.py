"""A base model with a counterfactual model that answers the prompts in the scope of an edit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from editors.core.typing import PreTrainedModel
from editors.memory.memory_model import MemoryModel, Tokens
from editors.memory.prefixed_model import PrefixedModel

THRESHOLD = 0.5  # a similarity above it is in scope


@dataclass(frozen=True)
class ScopeMatch:
    """The nearest edit of a prompt: the counterfactual model with that edit as its prefix, and the similarity."""

    model: PrefixedModel
    similarity: float


Matcher = Callable[[Sequence[Tokens]], Sequence[ScopeMatch | None]]


class RoutedModel(MemoryModel[ScopeMatch]):
    """The base out of scope, the counterfactual model in scope.

    Args:
        model: The base.
        match_scope: Gives the nearest edit of each prompt, from its own tokens only; None if there are no edits.
    """

    def __init__(self, model: PreTrainedModel, match_scope: Matcher) -> None:
        super().__init__(model)
        self._match_scope = match_scope

    def routes(self, contexts: Sequence[Tokens]) -> list[ScopeMatch | None]:
        """The nearest edit of each prompt, if it is in scope."""
        return [match if match is not None and self.in_scope(match) else None for match in self._match_scope(contexts)]

    def in_scope(self, match: ScopeMatch) -> bool:
        """Whether the edit is near enough to answer."""
        return match.similarity > THRESHOLD

    def logits(self, tokens: Tokens, context: int, route: ScopeMatch) -> Tensor:  # noqa: ARG002 - already routed
        """Logits [T, V] of the counterfactual model."""
        return route.model.logits(tokens)

    def read_instead(self, context: Tokens, route: ScopeMatch) -> tuple[PreTrainedModel, Tokens]:
        """The counterfactual model, and the prompt after the edit."""
        return route.model.model, route.model.read(context)

    def continue_routed(self, context: Tokens, route: ScopeMatch, limit: int, eos_ids: frozenset[int]) -> list[int]:
        """Greedy continuation."""
        return route.model.generate(context, limit, eos_ids)
