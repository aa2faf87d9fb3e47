"""What is run together: rows of about one length, whose prefixes may differ and were run in one pass before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from editgate.inference.kv_cache import PreallocatedCacheLayer
from editgate.inference.prefix_groups import Group, Row, shared_prefixes
from editgate.inference.tokenize import Tokens

MAX_KEYS = 2**15  # keys of one batch in one layer


@dataclass(frozen=True)
class Prefixes:
    """Prefixes that were run in one pass, G of them.

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
        run: runs prefixes.
        most: new tokens of a batch, with padding; one row may have more.
        most_prefixes: tokens of the prefixes that are run in one pass, with padding; one may have more.
        proposed: how many tokens the first pass reads besides each row.
        limits: how many tokens are written after each prompt.
    """
    proposed, limits = proposed or [0] * len(prompts), limits or [0] * len(prompts)
    for groups in _bundles(shared_prefixes(prompts), most_prefixes):
        prefixes = run([prompts[group.start][: group.prefix] for group in groups])
        which = {i: number for number, group in enumerate(groups) for i in range(group.start, group.stop)}
        rows = {i: pack(i, groups[number].prefix) for i, number in which.items()}
        sizes = {i: max(1, len(row.tokens) + proposed[i]) for i, row in rows.items()}
        more = int(prefixes.lengths.max()) + max(limits[i] for i in which)
        longest_first = sorted(which, key=lambda i: -sizes[i])
        while longest_first:
            size = sizes[longest_first[0]]
            count = max(1, min(most // size, MAX_KEYS // (size + more)))
            members, longest_first = longest_first[:count], longest_first[count:]
            yield Batch(members, [rows[i] for i in members], [which[i] for i in members], prefixes)


def _bundles(groups: Sequence[Group], most: int) -> Iterator[Sequence[Group]]:
    """Yield neighboring groups whose prefixes have at most so many tokens, padded to the longest; or one alone."""
    start, widest = 0, 0
    for stop, group in enumerate(groups):
        if stop > start and max(widest, group.prefix) * (stop + 1 - start) > most:
            yield groups[start:stop]
            start, widest = stop, 0
        widest = max(widest, group.prefix)
    if groups:
        yield groups[start:]
