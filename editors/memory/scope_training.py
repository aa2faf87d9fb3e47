"""Train a scope classifier on edits: rephrases of a fact are in scope, other facts and texts are not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from editors.core.edit import Edit
from editors.core.training import train
from editors.memory.encoders import Encoder

NAME = "scope"  # of the training's checkpoint
CLIP = 100.0  # greatest norm of a gradient, as in the authors' code
Pool = tuple[int, ...]


def fact_of(edit: Edit) -> tuple[str, str]:
    """Key of an edit's fact: subject and old answer, or subject and prompt if the answer is not known."""
    return edit.about, edit.target_true or edit.prompt


def wordings_of(edit: Edit) -> tuple[str, ...]:
    """The prompt and the rephrases of an edit."""
    return (edit.text, *edit.rephrases)


@dataclass(frozen=True)
class Examples:
    """For each training edit, rows of the list of texts.

    Attributes:
        texts: All different texts.
        facts: A number per edit; edits of one fact share it.
        own: The edit's own prompt.
        inside: Prompts and rephrases of its fact.
        near: Prompts of its neighbors.
        other: Other facts, of its subject if there are any.
        generic: Texts unrelated to any edit.
    """

    texts: tuple[str, ...]
    facts: Tensor
    own: Tensor
    inside: tuple[Pool, ...]
    near: tuple[Pool, ...]
    other: tuple[Pool, ...]
    generic: Pool


def examples(edits: Sequence[Edit], corpus: Sequence[str], read: Callable[[str], str]) -> Examples:
    """Collect the training texts of each edit; `read` gives the part of a text that the classifier reads."""
    rows: dict[str, int] = {}

    def row(text: str) -> int:
        return rows.setdefault(read(text), len(rows))

    generic = tuple(dict.fromkeys(row(text) for text in corpus))
    wordings: dict[tuple[str, str], list[int]] = defaultdict(list)
    facts_of: dict[str, dict[tuple[str, str], None]] = defaultdict(dict)
    for edit in edits:
        wordings[fact_of(edit)] += map(row, wordings_of(edit))
        facts_of[edit.about][fact_of(edit)] = None
    numbers = {fact: number for number, fact in enumerate(wordings)}
    others = [[w for fact in facts_of[edit.about] if fact != fact_of(edit) for w in wordings[fact]] for edit in edits]
    near = [[row(text) for text, _ in edit.neighbors] for edit in edits]
    return Examples(
        texts=tuple(rows),
        facts=torch.tensor([numbers[fact_of(edit)] for edit in edits]),
        own=torch.tensor([row(edit.text) for edit in edits]),
        inside=tuple(tuple(wordings[fact_of(edit)]) for edit in edits),
        near=tuple(tuple(pool) or generic for pool in near),
        other=tuple(tuple(pool) or generic for pool in others),
        generic=generic,
    )


class _Projection(nn.Module):
    """Standardized features [n, D] to points [n, K]."""

    def __init__(self, width: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, size, generator=generator) * (0.1 / width**0.5))

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.weight


def outside(squared: Tensor) -> Tensor:
    """Mean of -log(1 - exp(-d²)): the loss of pairs that must be far apart."""
    return -torch.log(-torch.expm1(-squared.clamp_min(1e-6))).mean()


class _Loss:
    """Balanced binary cross-entropy: half for pairs in scope, half for those outside, equal for each kind."""

    def __init__(self, shown: Examples, features: Tensor, network: _Projection, batch: int) -> None:
        self._shown, self._features, self._network = shown, features, network
        self._batch = min(batch, len(shown.own))

    def __call__(self, _step: int, generator: torch.Generator) -> Tensor:
        shown = self._shown
        chosen = torch.randperm(len(shown.own), generator=generator)[: self._batch].tolist()
        edits = self._points(shown.own[chosen].tolist())
        inside, near, other = (
            self._points([_draw(pools[index], generator) for index in chosen])
            for pools in (shown.inside, shown.near, shown.other)
        )
        generic = self._points([_draw(shown.generic, generator) for _ in chosen])
        facts = shown.facts[chosen]
        crossed = torch.cdist(edits, inside).square()[facts[:, None] != facts]
        apart = [_squared(edits, near), _squared(edits, other), torch.cdist(edits, generic).square(), crossed]
        parts = [outside(squared) for squared in apart if squared.numel()]
        loss: Tensor = _squared(edits, inside).mean() + torch.stack(parts).mean()
        return loss

    def _points(self, rows: Sequence[int]) -> Tensor:
        points: Tensor = self._network(self._features[list(rows)])
        return points


def _squared(left: Tensor, right: Tensor) -> Tensor:
    return (left - right).square().sum(-1)


def _draw(pool: Pool, generator: torch.Generator) -> int:
    return pool[int(torch.randint(len(pool), (1,), generator=generator))]


def train_scope(
    encoder: Encoder,
    shown: Examples,
    *,
    size: int,
    steps: int,
    lr: float,
    batch: int,
    seed: int,
    scratch: Path | None,
) -> dict[str, Tensor]:
    """Train the map that brings an edit's rephrases together and other texts apart.

    Args:
        encoder: Gives features [n, D].
        shown: From `examples`.
        size: K, the width of the space.
        steps: Of Adam.
        lr: Its rate.
        batch: Edits in a step.
        seed: Of the first map and all draws.
        scratch: Folder for a checkpoint.

    Returns:
        `scope.mean` [D] and `scope.map` [D, K], float32.
    """
    features = encoder(shown.texts)
    mean, spread = features.mean(0), features.std(0).clamp_min(1e-6)
    network = _Projection(features.shape[1], size, torch.Generator().manual_seed(seed))
    loss = _Loss(shown, (features - mean) / spread, network, batch)
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    train(NAME, network, optimizer, loss, steps=steps, seed=seed, clip=CLIP, scratch=scratch)
    return {"scope.mean": mean, "scope.map": network.weight.detach() / spread[:, None]}
