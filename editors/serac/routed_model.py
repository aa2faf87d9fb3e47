"""A base model with a counterfactual one beside it: what is in the scope of an edit, the other model answers."""

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
class Verdict:
    """What the scope classifier says of a prompt: who answers in scope, and how similar the nearest edit is."""

    answers: PrefixedModel
    similarity: float


Judge = Callable[[Sequence[Tokens]], Sequence[Verdict | None]]


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


class RoutedModel(MemoryModel[Verdict]):
    """The base where no edit is near, the counterfactual model where one is; or both, mixed.

    Args:
        model: The base.
        judge: Gives the nearest edit of each prompt, from its own tokens only; None where there is no edit at all.
        soft: Mix both models' probabilities by the similarity, whatever it is, instead of choosing one.
        eps: Added to each probability of a mixture.
    """

    def __init__(self, model: PreTrainedModel, judge: Judge, *, soft: bool = False, eps: float = 0.0) -> None:
        super().__init__(model)
        self._judge = judge
        self._soft = soft
        self._eps = eps

    def routes(self, contexts: Sequence[Tokens]) -> list[Verdict | None]:
        """The nearest edit of each prompt, if it is in scope."""
        return [
            verdict if verdict is not None and (self._soft or verdict.similarity > THRESHOLD) else None
            for verdict in self._judge(contexts)
        ]

    def logits(self, tokens: Tokens, context: int, route: Verdict) -> Tensor:  # noqa: ARG002 - the decision is made
        """Logits [T, V] of the counterfactual model, or log-probabilities of the mixture."""
        own = route.answers.logits(tokens)
        if not self._soft:
            return own
        base = self.model(input_ids=torch.tensor([tokens], device=self.device)).logits[0]
        return mix(base, own, route.similarity, self._eps)

    def write(self, context: Tokens, route: Verdict, limit: int, ends: frozenset[int]) -> list[int]:
        """Greedy continuation; a mixture is computed anew for each token."""
        if not self._soft:
            return route.answers.write(context, limit, ends)
        written: list[int] = []
        while len(written) < limit and not ends & set(written[-1:]):
            written.append(int(self.logits((*context, *written), len(context), route)[-1].argmax()))
        return written
