"""A base model with a counterfactual model that answers the prompts in the scope of an edit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
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


def mix(base: Tensor, own: Tensor, similarity: float, eps: float = 0.0) -> Tensor:
    """log((1 - s) softmax(base) + s softmax(own) + eps), in float32.

    Without `eps` it is computed in log space and has no floor; EasyEdit adds float32's eps, which puts one at -15.9.

    Args:
        base: Logits [T, V].
        own: The counterfactual model's.
        similarity: s, from 0 to 1.
        eps: What is added to each probability.
    """
    left, right = base.float().log_softmax(-1), own.float().log_softmax(-1)
    share = torch.tensor(similarity, device=left.device)
    if eps:
        return torch.log((1 - share) * left.exp() + share * right.exp() + eps)
    return torch.logaddexp(torch.log1p(-share) + left, torch.log(share) + right)


class RoutedModel(MemoryModel[ScopeMatch]):
    """The base out of scope, the counterfactual model in scope; or a mixture of both.

    Args:
        model: The base.
        match_scope: Gives the nearest edit of each prompt, from its own tokens only; None if there are no edits.
        soft: Mix both models' probabilities by the similarity, whatever it is, instead of choosing one.
        eps: Added to each probability of a mixture.
    """

    def __init__(self, model: PreTrainedModel, match_scope: Matcher, *, soft: bool = False, eps: float = 0.0) -> None:
        super().__init__(model)
        self._match_scope = match_scope
        self._soft = soft
        self._eps = eps

    def routes(self, contexts: Sequence[Tokens]) -> list[ScopeMatch | None]:
        """The nearest edit of each prompt, if it is in scope."""
        return [
            match if match is not None and (self._soft or match.similarity > THRESHOLD) else None
            for match in self._match_scope(contexts)
        ]

    def logits(self, tokens: Tokens, context: int, route: ScopeMatch) -> Tensor:  # noqa: ARG002 - already routed
        """Logits [T, V] of the counterfactual model, or log-probabilities of the mixture."""
        own = route.model.logits(tokens)
        if not self._soft:
            return own
        base = self.model(input_ids=torch.tensor([tokens], device=self.device)).logits[0]
        return mix(base, own, route.similarity, self._eps)

    def continue_routed(self, context: Tokens, route: ScopeMatch, limit: int, eos_ids: frozenset[int]) -> list[int]:
        """Greedy continuation; a mixture is recomputed for each token."""
        if not self._soft:
            return route.model.generate(context, limit, eos_ids)
        return super().continue_routed(context, route, limit, eos_ids)
