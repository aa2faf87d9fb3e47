"""What one matrix reads at the last token of a prompt: computed up to that matrix only, once per prompt.

Benchmarks ask thousands of prompts, most of which begin with the same worked examples. The prompts are therefore
sorted, runs of them with a long common beginning share its keys and values, and nothing above the matrix is run. The
model below a memory never changes, so what was computed is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import takewhile

import torch
from torch import Tensor, nn

from editors.memory.memory_model import Tokens
from editors.models.architecture import Architecture
from editors.models.compat import DynamicCache, forward_with_cache, keys_and_values
from editors.models.trace import StopForward

BATCH = 8192  # tokens in one forward pass
ROWS = 64  # prompts in one forward pass
KEPT = 0.8  # share of a run's common beginning that must remain for another prompt to join it


class Queries:
    """Inputs of one matrix at the last token of each prompt.

    Args:
        anatomy: The model's.
        matrix: A projection in one of its blocks.
    """

    def __init__(self, architecture: Architecture, matrix: nn.Module) -> None:
        self._anatomy = architecture
        self._matrix = matrix
        self._known: dict[Tokens, Tensor] = {}

    def __call__(self, prompts: Sequence[Tokens]) -> Tensor:
        """Inputs [Q, d_in] for Q prompts, equal to `alone` up to rounding."""
        for run, common in _runs(sorted({prompt for prompt in prompts if prompt not in self._known})):
            self._read_run(run, common)
        return torch.stack([self._known[prompt] for prompt in prompts])

    def alone(self, prompt: Tokens) -> Tensor:
        """The input [d_in] for one prompt, the same bit by bit whatever was asked before."""
        return self._read([prompt], DynamicCache())[0]

    @torch.no_grad()
    def _read_run(self, run: Sequence[Tokens], common: int) -> None:
        beginning = DynamicCache()
        if common:
            self._read([run[0][:common]], beginning)
        for batch in _batches(sorted(run, key=len), common):
            found = self._read([prompt[common:] for prompt in batch], _repeated(beginning, len(batch)))
            self._known.update(zip(batch, found.unbind(), strict=True))

    @torch.no_grad()
    def _read(self, rows: Sequence[Tokens], cache: DynamicCache) -> Tensor:
        """Inputs at the last token of right-padded rows; their keys and values go into the cache."""
        device = next(self._anatomy.trunk.parameters()).device
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
        last = torch.tensor([len(row) - 1 for row in rows], device=device)
        taken: list[Tensor] = []

        def take(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            taken.append(args[0][torch.arange(len(rows), device=device), last])
            raise StopForward

        handle = self._matrix.register_forward_pre_hook(take)
        try:
            with suppress(StopForward):
                forward_with_cache(self._anatomy.trunk, ids, cache)
        finally:
            handle.remove()
        return taken[0]


def _runs(prompts: Sequence[Tokens]) -> Iterator[tuple[Sequence[Tokens], int]]:
    """Sorted prompts in runs with the length of each run's common beginning, shorter than any of them."""
    start, common = 0, 0
    for index, prompt in enumerate(prompts):
        if index == start:
            common = len(prompt) - 1
            continue
        shared = min(common, len(prompt) - 1, _shared(prompts[start], prompt))
        if index == start + 1 or shared >= KEPT * common:
            common = shared
        else:
            yield prompts[start:index], common
            start, common = index, len(prompt) - 1
    if prompts:
        yield prompts[start:], common


def _shared(left: Tokens, right: Tokens) -> int:
    """Number of tokens that two prompts begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def _batches(prompts: Sequence[Tokens], common: int) -> Iterator[Sequence[Tokens]]:
    """Prompts by rising length in batches of bounded size."""
    start = 0
    for index, prompt in enumerate(prompts):
        rows = index - start + 1
        if rows > ROWS or (rows > 1 and rows * (len(prompt) - common) > BATCH):
            yield prompts[start:index]
            start = index
    if prompts:
        yield prompts[start:]


def _repeated(cache: DynamicCache, rows: int) -> DynamicCache:
    """The keys and values of one row, for many; a forward pass adds to the copy."""
    copies = DynamicCache()
    for layer in range(len(cache.layers)):
        stored = keys_and_values(cache, layer)
        assert stored is not None  # a cache made without a config has no layers of another class
        keys, values = (states.expand(rows, -1, -1, -1) for states in stored)
        copies.update(keys, values, layer)
    return copies
