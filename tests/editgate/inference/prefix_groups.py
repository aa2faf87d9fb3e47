"""How prompts are batched: which prefixes they share, and how a prompt and its options are packed into one row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from editgate.inference.tokenize import Tokens

PASS_COST = 64  # tokens: what one more forward pass costs besides its own (llama-mini: about 80, SmolLM2-135M: 15)
PREFIX_COST = 32  # tokens: what one more prefix costs besides its own; many of them are run in one pass
SMALLEST_SPLIT = 8  # contexts; fewer are not worth a prefix of their own
DEEPEST_SPLIT = 64
PADDING = -1  # segment of padding; 0 is the context, 1, 2, ... the options


@dataclass(frozen=True, slots=True)
class Group:
    """Contexts `start` to `stop` (exclusive) of a sorted list, which share their first `prefix` tokens."""

    prefix: int
    start: int
    stop: int


def shared_prefixes(contexts: Sequence[Tokens], split_cost: int = PREFIX_COST) -> list[Group]:
    """Split a sorted list into groups: running each group's common prefix once costs the fewest tokens.

    A prefix always leaves at least one token to every member. Contexts are the leaves of a trie; a node is
    split where its children's longer prefixes save more tokens than `split_cost`, the price of a group.
    """
    ends = np.cumsum([0, *map(len, contexts)])

    def best(start: int, stop: int, depth: int) -> tuple[int, list[Group]]:
        pairs = zip(contexts[start], contexts[stop - 1], strict=False)
        shortest = min(len(contexts[start]), len(contexts[stop - 1]))
        common = next((i for i, (first, last) in enumerate(pairs) if first != last), shortest)
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


def _children(contexts: Sequence[Tokens], start: int, stop: int, position: int) -> Iterator[tuple[int, int]]:
    """Yield runs of contexts with the same token at `position`."""
    first = start
    for i in range(start + 1, stop + 1):
        if i == stop or contexts[i][position] != contexts[first][position]:
            yield first, i
            first = i


@dataclass(slots=True)
class Row:
    """One context and its options, packed side by side; `tokens` begin after the shared prefix.

    Attributes:
        tokens: the rest of the context, then each option without its last token (what follows is not read).
        positions: index of each token in the text that it belongs to.
        segments: 0 for the context, 1, 2, ... for the options.
        reads: (column, token to be predicted there, index of the request).
    """

    tokens: list[int]
    positions: list[int]
    segments: list[int]
    reads: list[tuple[int, int, int]] = field(default_factory=list)

    @classmethod
    def pack(cls, context: Tokens, prefix: int, options: Sequence[tuple[int, Tokens]] = ()) -> Row:
        """Return the row of a context with its options, given as (index of the request, tokens)."""
        rest = len(context) - prefix
        row = cls(list(context[prefix:]), list(range(prefix, len(context))), [0] * rest)
        for segment, (request, option) in enumerate(options, start=1):
            first = len(row.tokens)
            row.reads.append((rest - 1, option[0], request))
            row.reads += [(first + i, token, request) for i, token in enumerate(option[1:])]
            row.tokens += option[:-1]
            row.positions += range(len(context), len(context) + len(option) - 1)
            row.segments += [segment] * (len(option) - 1)
        return row


def pad(rows: Sequence[Row], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return token ids, positions and segments of the rows, [B, Q] each, padded on the right."""
    table = np.zeros((3, len(rows), max(len(row.tokens) for row in rows)), dtype=np.int64)
    table[2] = PADDING
    for r, row in enumerate(rows):
        table[:, r, : len(row.tokens)] = row.tokens, row.positions, row.segments
    ids, positions, segments = torch.from_numpy(table).to(device)
    return ids, positions, segments


def pad_ragged(
    fed: Sequence[Sequence[int]], cached: NDArray[np.int64], spare: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, cache columns and positions, [B, Q] each, of tokens that follow `cached` [B] others of their row.

    A token's column is its position. Padding on the right goes into the columns that come next, which no token sees
    before it is overwritten, at most into column `spare`; its positions repeat the row's last one.
    """
    lengths = np.array([len(tokens) for tokens in fed])
    ids = np.zeros((len(fed), lengths.max()), dtype=np.int64)
    for row, tokens in enumerate(fed):
        ids[row, : len(tokens)] = tokens
    columns = np.minimum(cached[:, None] + np.arange(ids.shape[1]), spare)
    positions = np.minimum(columns, (cached + lengths - 1)[:, None])
    one, two, three = (torch.from_numpy(table).to(device) for table in (ids, columns, positions))
    return one, two, three


def packed_mask(segments: Tensor, past: Tensor, width: int) -> Tensor:
    """Return which key each query may see, [B, Q, width + Q], from segments [B, Q].

    A token sees its row's prefix, the context before it, and what is before it in its own segment. Padding
    sees itself, so that no row of the softmax is empty.

    Args:
        segments: of the tokens.
        past: how many of the first keys are each row's prefix, [B].
        width: how many keys stand before the tokens.
    """
    same = segments[:, :, None] == segments[:, None, :]
    earlier = torch.ones(same.shape[1:], dtype=torch.bool, device=segments.device).tril()
    within = (same | (segments == 0)[:, None, :]) & earlier
    prefix = torch.arange(width, device=segments.device) < past[:, None, None]  # [B, 1, width]
    return torch.cat([prefix.expand(-1, segments.shape[1], -1), within], dim=2)
