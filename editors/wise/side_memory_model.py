"""The base model with WISE's side memory: a prompt that activates a shard enough is answered with that shard's matrix.

A prompt's activation by a shard W' is Δ, the mean over its tokens of ‖φ(W' a) - φ(W a)‖₂; in prompts of more than 100
tokens, as in the authors' code, it is the largest of them instead. The decision is the prompt's: what is written or
scored after it does not change it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from editors.core.typing import PreTrainedModel
from editors.memory.memory_model import MemoryModel, Tokens
from editors.models.greedy import generate_greedily
from editors.models.projection import Matrix
from editors.models.shared_queries import PromptInputs
from editors.wise.loss import Activation, distances

LONG = 100  # tokens of a prompt whose mean is taken at most
BORDER = 1e-3  # activations this near to a decision, relative to it, are computed again for the prompt alone


class SideMemoryModel(MemoryModel[int]):
    """The base and the matrices that may answer for it; a route is the index of one.

    Attributes:
        shards: Matrices in stored order, each with the least activation at which it answers. Set by `load`.
    """

    exchanges_weights: ClassVar[bool] = True

    def __init__(self, model: PreTrainedModel, matrix: Matrix, inputs: PromptInputs, activation: Activation) -> None:
        super().__init__(model)
        self.shards: list[tuple[Tensor, float]] = []
        self._matrix = matrix
        self._inputs = inputs
        self._activation = activation
        self._known: dict[Tokens, int | None] = {}

    def load(self, shards: Sequence[tuple[Tensor, float]]) -> None:
        """Let these matrices answer from now on."""
        self.shards = list(shards)
        self._known = {}

    @torch.no_grad()
    def routes(self, contexts: Sequence[Tokens]) -> list[int | None]:
        """The shard that answers each prompt."""
        if not self.shards:
            return [None] * len(contexts)
        for batch, before, own in self._inputs.together([tokens for tokens in contexts if tokens not in self._known]):
            shared, rest = self._distances(before), self._distances(own)
            for index, tokens in enumerate(batch):
                each = torch.cat([shared, rest[:, index, : len(tokens) - len(before)]], dim=1)
                self._known[tokens] = self._decide(tokens, _activations(each))
        return [self._known[tokens] for tokens in contexts]

    def activations(self, tokens: Tokens) -> list[float]:
        """Δ of a prompt by each shard."""
        with torch.no_grad():
            return _activations(self._distances(self._inputs.alone(tokens)))

    def _distances(self, inputs: Tensor) -> Tensor:
        """‖φ(W' a) - φ(W a)‖₂ by each shard, [shards, ...]."""
        wide = inputs.to(self.shards[0][0].dtype)
        return torch.stack([distances(self._matrix, self._activation, wide, weight) for weight, _ in self.shards])

    def _decide(self, tokens: Tokens, found: Sequence[float]) -> int | None:
        """The shard for these activations; near a border they are computed again, without the batch's rounding."""
        bounds = [bound for _, bound in self.shards]
        near = any(math.isclose(value, bound, rel_tol=BORDER) for value, bound in zip(found, bounds, strict=True))
        ranked = sorted(found)
        near |= any(math.isclose(*pair, rel_tol=BORDER) for pair in pairwise(ranked))
        return choose(self.activations(tokens) if near else found, bounds)

    @contextmanager
    def exchanged(self, route: int) -> Iterator[None]:
        """See `MemoryModel.exchanged`."""
        weight, before = self._matrix.weight, self._matrix.weight.data
        weight.data = self.shards[route][0].to(before.dtype)
        try:
            yield
        finally:
            weight.data = before

    @torch.no_grad()
    def logits(self, tokens: Tokens, context: int, route: int) -> Tensor:  # noqa: ARG002 - the route says it
        """See `MemoryModel.logits`."""
        with self.exchanged(route):
            logits: Tensor = self.model(input_ids=torch.tensor([tokens], device=self.device)).logits[0]
        return logits

    def continue_routed(self, context: Tokens, route: int, limit: int, eos_ids: frozenset[int]) -> list[int]:
        """See `MemoryModel.continue_routed`."""
        with self.exchanged(route):
            return generate_greedily(self.model, torch.tensor([context], device=self.device), limit, eos_ids)


def _activations(each: Tensor) -> list[float]:
    """Δ by each shard from its tokens' distances [shards, T]."""
    found: list[float] = (each.amax(1) if each.shape[1] > LONG else each.mean(1)).tolist()
    return found


def choose(activations: Sequence[float], bounds: Sequence[float]) -> int | None:
    """The shard of the largest activation, among equals the first, if that reaches its bound; else None."""
    best = max(range(len(activations)), key=lambda shard: activations[shard])
    return best if activations[best] >= bounds[best] else None
