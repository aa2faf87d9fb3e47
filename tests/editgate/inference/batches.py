"""What is run together: rows of about one length, after prefixes of their own that were run before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from editgate.inference.kv_cache import PreallocatedCacheLayer
from editgate.inference.prefix_groups import PASS_COST, Group, Row, shared_prefixes
from editgate.inference.tokenize import Tokens

MAX_KEYS = 2**15  # keys of one batch in one layer
STEP_COST = PASS_COST // 4  # tokens: what a step of a batch that writes costs besides; drafts save most of them


@dataclass(frozen=True)
class Prefixes:
    """Prefixes whose rows may stand in one batch, G of them.

    Attributes:
        lengths: their tokens, [G].
        layers: their keys and values, G rows, padded on the right; no layers if all are empty.
    """

    lengths: NDArray[np.int64]
    layers: Sequence[PreallocatedCacheLayer]


@dataclass(frozen=True)
class Batch:
    """Prompts that are run together.

    Attributes:
        prompts: their indices, [B].
        rows: what is run of each after its prefix, [B].
        which: the number of each row's prefix, [B].
        prefixes: that they share.
    """

    prompts: Sequence[int]
    rows: Sequence[Row]
    which: Sequence[int]
    prefixes: Prefixes

    @property
    def past(self) -> NDArray[np.int64]:
        """Return how many tokens stand before each row, [B]."""
        return self.prefixes.lengths[list(self.which)]

    def layers(self, more: int) -> list[PreallocatedCacheLayer]:
        """Return keys and values of each row's prefix, padded to the longest, with capacity for `more` tokens.

        No layers if all of these prefixes are empty.
        """
        longest, which = int(self.past.max()), torch.tensor(self.which)
        return [layer.for_rows(which, longest, more) for layer in self.prefixes.layers] if longest else []


def batches(
    prompts: Sequence[Tokens],
    pack: Callable[[int, int], Row],
    run: Callable[[Sequence[Tokens]], Prefixes],
    *,
    most: int,
    most_prefixes: int,
    proposed: Sequence[int] | None = None,
    limits: Sequence[int] | None = None,
) -> Iterator[Batch]:
    """Yield all prompts in batches, and run the prefixes that they share on the way.

    Args:
        prompts: sorted.
        pack: returns a prompt's row, from its index and the length of its prefix.
        run: runs prefixes, the longest first.
        most: new tokens of a batch, with padding; one row may have more.
        most_prefixes: tokens of the prefixes whose rows may stand in one batch, with padding; one may have more.
        proposed: how many tokens the first pass reads besides each row.
        limits: how many tokens are written after each prompt.
    """
    proposed, limits = proposed or [0] * len(prompts), limits or [0] * len(prompts)
    for groups in _bundles(shared_prefixes(prompts), most_prefixes):
        prefixes = run([prompts[group.start][: group.prefix] for group in groups])
        which = {i: number for number, group in enumerate(groups) for i in range(group.start, group.stop)}
        rows = {i: pack(i, groups[number].prefix) for i, number in which.items()}
        sizes = {i: max(1, len(row.tokens) + proposed[i]) for i, row in rows.items()}
        most_written = max(limits[i] for i in which)
        more, cost = int(prefixes.lengths.max()) + most_written, PASS_COST + STEP_COST * most_written
        longest_first = sorted(which, key=lambda i: -sizes[i])
        while longest_first:
            size = sizes[longest_first[0]]
            count = max(1, min(most // size, MAX_KEYS // (size + more)))
            count = _worth_running([sizes[i] for i in longest_first[:count]], cost)
            members, longest_first = longest_first[:count], longest_first[count:]
            yield Batch(members, [rows[i] for i in members], [which[i] for i in members], prefixes)


def _bundles(groups: Sequence[Group], most: int) -> Iterator[Sequence[Group]]:
    """Yield groups whose rows may stand in one batch, those with the longest prefixes first.

    Padded to the longest, their prefixes have at most so many tokens; or a group is alone.
    """
    longest_first = sorted(groups, key=lambda group: -group.prefix)
    while longest_first:
        count = max(1, most // max(1, longest_first[0].prefix))
        yield longest_first[:count]
        longest_first = longest_first[count:]


def prefix_passes(lengths: Sequence[int]) -> Iterator[slice]:
    """Yield which prefixes are run together, from their lengths, which fall: padding costs less than another pass."""
    start, padding = 0, 0
    for stop, length in enumerate(lengths):
        padding += lengths[start] - length
        if length and padding > PASS_COST:
            yield slice(start, stop)
            start, padding = stop, 0
    yield slice(start, len(lengths))


def _worth_running(sizes: Sequence[int], cost: int) -> int:
    """Return how many of these rows, longest first, are run together: all, or the first ones if that saves padding.

    Args:
        sizes: tokens of each.
        cost: tokens: what one more batch costs.
    """
    saved = [(sizes[0] - size) * (len(sizes) - i) for i, size in enumerate(sizes)]
    return saved.index(max(saved)) if max(saved) > cost else len(sizes)
