"""SERAC as EasyEdit has it: both models' probabilities are mixed by the similarity, out of scope too."""

from __future__ import annotations

import torch
from torch import Tensor

from editors.core.typing import PreTrainedModel
from editors.memory.memory_model import MemoryModel, Tokens
from editors.serac.routed_model import Matcher, RoutedModel, ScopeMatch


def mix(base: Tensor, own: Tensor, similarity: float, eps: float) -> Tensor:
    """log((1 - s) softmax(base) + s softmax(own) + eps), in float32; float32's eps puts a floor at -15.9.

    Args:
        base: Logits [T, V].
        own: The counterfactual model's.
        similarity: s, from 0 to 1.
        eps: What is added to each probability.
    """
    left, right = base.float().softmax(-1), own.float().softmax(-1)
    return torch.log((1 - similarity) * left + similarity * right + eps)


class MixedModel(RoutedModel):
    """Every prompt is answered by a mixture, so that no answer is exactly the base's."""

    def __init__(self, model: PreTrainedModel, match_scope: Matcher, eps: float) -> None:
        super().__init__(model, match_scope)
        self._eps = eps

    def in_scope(self, match: ScopeMatch) -> bool:  # noqa: ARG002 - whatever it is
        """Always."""
        return True

    def logits(self, tokens: Tokens, context: int, route: ScopeMatch) -> Tensor:
        """Log-probabilities [T, V] of the mixture."""
        base = self.model(input_ids=torch.tensor([tokens], device=self.device)).logits[0]
        return mix(base, super().logits(tokens, context, route), route.similarity, self._eps)

    def continue_routed(self, context: Tokens, route: ScopeMatch, limit: int, eos_ids: frozenset[int]) -> list[int]:
        """Greedy continuation, with the mixture computed again for each token."""
        return MemoryModel.continue_routed(self, context, route, limit, eos_ids)
