"""WISE's memory: copies of one weight matrix that hold the edits, when each answers, and how they are merged.

Each copy ("shard") W_i begins as the base's W and takes `save_freq` edits. Its threshold is the least activation that
one of its edits was trained to. TIES (Yadav et al., NeurIPS 2023) merges shards in three steps: each W_i - W keeps its
largest entries, each entry gets the sign of the shards' sum, and those of that sign are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor

from editors.core.errors import StateMismatch

MERGED_SHARE = 0.6  # weight of what is merged already when shards are merged into it, as in the authors' code
WEIGHTS = ("side", "merged", "shards")  # in the state; shards are stacked


class Settings(Protocol):
    """The hyperparameters that say when shards begin, and are merged."""

    @property
    def retrieve(self) -> bool: ...  # noqa: D102
    @property
    def save_freq(self) -> int: ...  # noqa: D102
    @property
    def merge_freq(self) -> int: ...  # noqa: D102
    @property
    def densities(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class SideMemory:
    """The memory after some edits. Weights are stored as the base's matrix is, in float32 or wider.

    Attributes:
        count: Edits so far.
        side: The shard that takes edits now; None: it is still the base's matrix.
        threshold: Least activation of an edit in `side` (of all edits, where shards are merged into one); infinite
            before the first.
        shards, thresholds: Shards that are full.
        merged: What shards were merged into; None if that has not happened.
    """

    count: int = 0
    side: Tensor | None = None
    threshold: float = math.inf
    shards: tuple[Tensor, ...] = ()
    thresholds: tuple[float, ...] = ()
    merged: Tensor | None = None

    def edited(self, side: Tensor, activation: float, base: Tensor, rules: Settings) -> Self:
        """The memory after one more edit, which changed `side` and was trained to this activation."""
        after = replace(self, count=self.count + 1, side=side, threshold=min(self.threshold, activation))
        if after.count % rules.save_freq == 0:
            after = replace(after, side=None, shards=(*after.shards, side))
            if rules.retrieve:
                after = replace(after, threshold=math.inf, thresholds=(*after.thresholds, after.threshold))
        return after if after.count % rules.merge_freq else after.merging(base, rules)

    def merging(self, base: Tensor, rules: Settings) -> Self:
        """With the shards since the last merging in one: a shard like others to retrieve, or `merged`."""
        if not rules.retrieve:
            return replace(self, shards=(), merged=self.answering(base, rules)[0][0])
        last = rules.merge_freq // rules.save_freq
        one = ties(base, self.shards[-last:], [1 / last] * last, rules.densities)
        return replace(
            self,
            shards=(*self.shards[:-last], one),
            thresholds=(*self.thresholds[:-last], min(self.thresholds[-last:])),
        )

    def answering(self, base: Tensor, rules: Settings) -> list[tuple[Tensor, float]]:
        """The matrices that may answer instead of the base's, each with its threshold."""
        if rules.retrieve:
            current = [] if self.side is None else [(self.side, self.threshold)]
            return current + list(zip(self.shards, self.thresholds, strict=True))
        parts = [*self.shards, *([] if self.side is None else [self.side])]
        one: Tensor | None
        if self.merged is not None:
            share = (1 - MERGED_SHARE) / max(len(parts), 1)
            shares = [share] * len(parts) + [MERGED_SHARE]
            one = ties(base, [*parts, self.merged], shares, rules.densities) if parts else self.merged
        elif self.count < rules.save_freq:
            one = self.side
        else:
            one = ties(base, parts, [1 / len(parts)] * len(parts), rules.densities)
        return [] if one is None else [(one, self.threshold)]

    def state(self) -> dict[str, Tensor]:
        """The tensors by name; none before the first edit."""
        if not self.count:
            return {}
        numbers = {
            "count": torch.tensor(self.count),
            "thresholds": torch.tensor([self.threshold, *self.thresholds], dtype=torch.float64),
        }
        parts = {"side": self.side, "merged": self.merged, "shards": torch.stack(self.shards) if self.shards else None}
        return numbers | {name: tensor.clone() for name, tensor in parts.items() if tensor is not None}

    @classmethod
    def of(cls, state: Mapping[str, Tensor], base: Tensor) -> Self:
        """The memory that `state` gave, for a matrix like `base`.

        Raises:
            StateMismatch: A tensor is missing or unknown, or its shape or dtype does not fit.
        """
        if not state:
            return cls()
        unknown = set(state) - {"count", "thresholds", *WEIGHTS}
        if unknown or not {"count", "thresholds"} <= set(state):
            raise StateMismatch(
                f"the state of wise lacks count or thresholds, or contains {', '.join(sorted(unknown))}"
            )
        for name in WEIGHTS:
            given = state.get(name, base)
            if given.shape[name == "shards" and name in state :] != base.shape or given.dtype != base.dtype:
                raise StateMismatch(
                    f"wise's {name} is {tuple(given.shape)} {given.dtype}; the matrix is {tuple(base.shape)}, kept in "
                    f"{base.dtype}"
                )
        own = {name: state[name].to(base.device).clone() for name in WEIGHTS if name in state}
        threshold, *thresholds = state["thresholds"].tolist()
        return cls(
            count=int(state["count"]),
            side=own.get("side"),
            threshold=threshold,
            shards=own["shards"].unbind() if "shards" in own else (),
            thresholds=tuple(thresholds),
            merged=own.get("merged"),
        )


def ties(base: Tensor, tensors: Sequence[Tensor], shares: Sequence[float], density: float) -> Tensor:
    """Merge matrices of one shape into the base: trim, elect a sign, average those that agree (TIES, section 3).

    Args:
        base: What the matrices were before they were changed.
        tensors: The matrices.
        shares: Weight of each in the election and in the average.
        density: Share of the entries of each difference that is kept, those of largest size.
    """
    changes = torch.stack([_trimmed(tensor - base, density) for tensor in tensors])
    weights = changes.new_tensor(list(shares)).reshape(-1, *[1] * base.ndim)
    weighted = changes * weights
    elected = torch.where(weighted.sum(0) >= 0, 1, -1)
    agreeing = changes.sign() == elected
    total = (weights * agreeing).sum(0)
    return base + (weighted * agreeing).sum(0) / torch.where(total == 0, 1, total)


def _trimmed(change: Tensor, density: float) -> Tensor:
    """The change with all but its largest entries 0."""
    kept = max(1, int(density * change.numel()))
    where = change.abs().flatten().topk(kept).indices
    trimmed = torch.zeros_like(change).flatten()
    trimmed[where] = change.flatten()[where]
    return trimmed.reshape(change.shape)
