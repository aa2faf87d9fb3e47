"""A text that a model is writing, and a draft of it that spares decoding one token at a time.

An edited model mostly writes what it wrote before. So what the unedited model wrote is the draft: one forward pass
reads it and tells what the model itself would write after each of its tokens. The text is the model's own up to and
including the first token that differs, and goes on from there with the rest of the draft. This is greedy speculative
decoding (Leviathan et al., ICML 2023, section 2, at temperature 0) with a draft that costs nothing: whatever the draft,
the text is the one that decoding token by token gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from editgate.inference.kv_cache import PreallocatedCacheLayer
from editgate.inference.prefix_groups import PASS_COST

Stop = Callable[[Sequence[int]], bool]  # whether this text, so far, is finished

FIRST = 4  # tokens of a draft that are tried at once, at the beginning and after the model left it
WIDEST = 64  # and while they are right, twice as many each time, up to these
OVERLAP = 2  # tokens in a row by which a text is found in its draft again
RIGHT = 0.6  # share of proposals that are expected to be right once a text has left its draft


class Text:
    """A text in the making.

    Args:
        limit: tokens after which it ends.
        stop: whether it is finished.
        draft: what it may turn out to be; only speed depends on it.

    Attributes:
        tokens: what the model has written.
        finished: whether it ends here.
        follows: whether it has been its draft from the beginning, and there is more of that.
    """

    def __init__(self, limit: int, stop: Stop, draft: Sequence[int]) -> None:
        self.limit, self.stop, self.draft = limit, stop, draft
        self.tokens: list[int] = []
        self.finished = False
        self.follows = bool(draft)
        self._next = 0  # index in the draft of what is expected next
        self._width = min(FIRST, len(draft))

    def proposals(self) -> Sequence[int]:
        """Return tokens that may come next, perhaps none; at most as many as leave room for one of the model's own."""
        if not self._width and self._found_again():
            self._width = FIRST
        room = self.limit - len(self.tokens) - 1
        return () if self.finished else self.draft[self._next : self._next + min(self._width, room)]

    def accept(self, proposals: Sequence[int], best: Sequence[int]) -> int:
        """Append what the model writes, and return how many of the proposals that confirmed.

        Args:
            proposals: the first of those from `proposals`, or none.
            best: the likeliest token after the text and the first 0, 1, ... of them; one more than proposals.
        """
        right = 0
        for proposed, token in zip([*proposals, None], best, strict=True):
            self.tokens.append(token)
            self.finished = len(self.tokens) >= self.limit or self.stop(self.tokens)
            if self.finished or token != proposed:
                break
            right += 1
        self._next += right + 1  # the model's own token stands for one of the draft's, as a changed number does
        if right < len(proposals):
            self._width = FIRST if right else 0
        elif proposals:
            self._width = min(2 * self._width, WIDEST)
        self.follows = self.follows and self.tokens == list(self.draft[: len(self.tokens)]) != list(self.draft)
        return right

    def _found_again(self) -> bool:
        """Go to where the text's last tokens stand in the draft, if they do."""
        last = self.tokens[-OVERLAP:]
        if len(last) < OVERLAP:
            return False
        for start in range(len(self.draft) - OVERLAP):
            if list(self.draft[start : start + OVERLAP]) == last:
                self._next = start + OVERLAP
                return True
        return False


def worthwhile(proposals: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
    """Return the proposals, cut to the length at which a forward pass is expected to write the most tokens a cost.

    All rows of a pass are as wide as its widest, so a few that propose many tokens make the others wait.
    """
    rows = len(proposals)

    def tokens_a_cost(width: int) -> float:
        expected = rows + RIGHT * sum(min(width, len(each)) for each in proposals)
        return expected / (PASS_COST + rows * (width + 1))

    best = max({0, *map(len, proposals)}, key=tokens_a_cost)
    return [each[:best] for each in proposals]


@dataclass
class Lane:
    """Texts that are written in the same forward passes.

    Attributes:
        texts: one a row.
        known: tokens of each row that the model has not run yet.
        cached: tokens of each row whose keys and values are there, [B].
        layers: keys and values of all attention layers.
    """

    texts: list[Text]
    known: list[list[int]]
    cached: NDArray[np.int64]
    layers: list[PreallocatedCacheLayer]

    def accept(self, proposals: Sequence[Sequence[int]], best: Sequence[int]) -> None:
        """Append to each text what the model writes: the likeliest tokens of all rows, row by row (`Text.accept`)."""
        following = iter(best)
        for row, text in enumerate(self.texts):
            own = list(islice(following, len(proposals[row]) + 1))
            if not text.finished:
                self.cached[row] += len(self.known[row]) + text.accept(proposals[row], own)
                self.known[row] = text.tokens[-1:]

    def select(self, rows: Sequence[int]) -> Lane:
        """Return a lane of these rows alone, copied; itself if they are all."""
        if len(rows) == len(self.texts):
            return self
        kept = torch.tensor(rows, dtype=torch.long)
        layers = [layer.selected(kept) for layer in self.layers] if rows else []
        return Lane([self.texts[i] for i in rows], [self.known[i] for i in rows], self.cached[list(rows)], layers)

    @classmethod
    def joined(cls, lanes: Sequence[Lane]) -> Lane:
        """Return all rows of these lanes in one."""
        lanes = [lane for lane in lanes if lane.texts]
        if len(lanes) == 1:  # nothing to copy
            return lanes[0]
        return cls(
            [text for lane in lanes for text in lane.texts],
            [tokens for lane in lanes for tokens in lane.known],
            np.concatenate([np.zeros(0, dtype=np.int64), *(lane.cached for lane in lanes)]),
            [PreallocatedCacheLayer.joined(layers) for layers in zip(*(lane.layers for lane in lanes), strict=True)],
        )
