"""Which prefixes many prompts share, and which of them are worth a forward pass of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from editgate.inference.tokenize import Tokens

PASS_COST = 256  # what one more forward pass costs beside its tokens, in tokens, on small models
SMALLEST_SPLIT = 8  # contexts; fewer are not worth a prefix of their own
DEEPEST_SPLIT = 64


@dataclass(frozen=True, slots=True)
class Group:
    """Contexts `start` to `stop` (exclusive) of a sorted list, which share their first `prefix` tokens."""

    prefix: int
    start: int
    stop: int


def shared_prefixes(contexts: Sequence[Tokens], split_cost: int = PASS_COST) -> list[Group]:
    """Cuts a sorted list into groups: running each group's common prefix once costs the fewest tokens.

    A prefix always leaves at least one token to every member. Contexts are the leaves of a trie; a node is
    split where its children's longer prefixes save more tokens than `split_cost`, the price of a group.
    """
    ends = np.cumsum([0, *map(len, contexts)])

    def best(start: int, stop: int, depth: int) -> tuple[int, list[Group]]:
        common = _common(contexts[start], contexts[stop - 1])
        prefix = min(common, len(contexts[start]) - 1)
        count = stop - start
        whole = split_cost + int(ends[stop] - ends[start]) - prefix * (count - 1)
        if count < 2 * SMALLEST_SPLIT or depth > DEEPEST_SPLIT or prefix < common:
            return whole, [Group(prefix, start, stop)]
        parts = [best(a, b, depth + 1) for a, b in _children(contexts, start, stop, common)]
        cost = sum(part[0] for part in parts)
        split = [group for part in parts for group in part[1]]
        return (cost, split) if cost < whole else (whole, [Group(prefix, start, stop)])

    return best(0, len(contexts), 0)[1] if contexts else []


def _children(contexts: Sequence[Tokens], start: int, stop: int, place: int) -> Iterator[tuple[int, int]]:
    """Runs of contexts with the same token at `place`."""
    first = start
    for i in range(start + 1, stop + 1):
        if i == stop or contexts[i][place] != contexts[first][place]:
            yield first, i
            first = i


def _common(first: Tokens, second: Tokens) -> int:
    """Length of the common prefix."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
