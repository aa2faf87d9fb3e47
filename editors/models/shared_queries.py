"""Inputs of one matrix at the tokens of prompts, with a shared prefix cache.

Benchmarks have thousands of prompts, most of which begin with the same few-shot examples. The prompts are therefore
sorted, and groups of them with a long common prefix share its keys and values. The forward pass ends at the matrix. The
model behind a memory never changes, so the inputs at last tokens are cached.
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
from editors.models.hooks import StopForward, forward_pre_hooks

MAX_TOKENS = 8192  # tokens in one forward pass
MAX_ROWS = 64  # prompts in one forward pass
MIN_PREFIX_SHARE = 0.8  # share of a group's common prefix that must remain for another prompt to join it


class PromptInputs:
    """Inputs of one matrix at all tokens of prompts.

    Args:
        architecture: The model's.
        matrix: A projection in one of its blocks.
    """

    def __init__(self, architecture: Architecture, matrix: nn.Module) -> None:
        self._architecture = architecture
        self._matrix = matrix

    def together(self, prompts: Sequence[Tokens]) -> Iterator[tuple[Sequence[Tokens], Tensor, Tensor]]:
        """Prompts in groups that share a prefix, which is run once; equal to `alone` up to rounding.

        Yields:
            Some of the prompts, Q of them; inputs [P, d_in] at the P tokens with which all of them begin; inputs
            [Q, length, d_in] at the others, padded on the right.
        """
        for run, common in _prefix_groups(sorted(set(prompts))):
            yield from self._read_group(run, common)

    def alone(self, prompt: Tokens) -> Tensor:
        """Inputs [T, d_in] for one prompt of T tokens, bit-exact the same whatever was computed before."""
        return self._read([prompt], DynamicCache())[0]

    @torch.no_grad()
    def _read_group(self, run: Sequence[Tokens], common: int) -> Iterator[tuple[Sequence[Tokens], Tensor, Tensor]]:
        prefix_cache = DynamicCache()
        if not self._architecture.family.only_attends:
            common = 0  # what a state was is not kept: each prompt is read from its start
        before = self._read([run[0][:common]], prefix_cache)[0] if common else None
        for batch in _batches(sorted(run, key=len), common):
            own = self._read([prompt[common:] for prompt in batch], _repeated(prefix_cache, len(batch)))
            yield batch, own[0, :0] if before is None else before, own

    @torch.no_grad()
    def _read(self, rows: Sequence[Tokens], cache: DynamicCache) -> Tensor:
        """Inputs [rows, length, d_in] of right-padded rows; their keys and values go into the cache."""
        device = next(self._architecture.trunk.parameters()).device
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
        taken: list[Tensor] = []

        def take(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            taken.append(args[0])
            raise StopForward

        with forward_pre_hooks((self._matrix, take)), suppress(StopForward):
            if self._architecture.family.only_attends:
                forward_with_cache(self._architecture.trunk, ids, cache)
            else:
                self._architecture.trunk(input_ids=ids, use_cache=False)
        return taken[0]


class Queries:
    """Inputs of one matrix at the last token of each prompt; computed once per prompt.

    Args:
        architecture: The model's.
        matrix: A projection in one of its blocks.
    """

    def __init__(self, architecture: Architecture, matrix: nn.Module) -> None:
        self._inputs = PromptInputs(architecture, matrix)
        self._known: dict[Tokens, Tensor] = {}

    def __call__(self, prompts: Sequence[Tokens]) -> Tensor:
        """Inputs [Q, d_in] for Q prompts, equal to `alone` up to rounding."""
        new = [prompt for prompt in prompts if prompt not in self._known]
        for batch, before, own in self._inputs.together(new):
            last = torch.tensor([len(prompt) - len(before) - 1 for prompt in batch], device=own.device)
            self._known.update(zip(batch, own[torch.arange(len(batch), device=own.device), last], strict=True))
        return torch.stack([self._known[prompt] for prompt in prompts])

    def alone(self, prompt: Tokens) -> Tensor:
        """The input [d_in] for one prompt, bit-exact the same whatever was computed before."""
        return self._inputs.alone(prompt)[-1]


def _prefix_groups(prompts: Sequence[Tokens]) -> Iterator[tuple[Sequence[Tokens], int]]:
    """Sorted prompts in groups, with the length of each group's common prefix, which is shorter than any of them."""
    start, common = 0, 0
    for index, prompt in enumerate(prompts):
        if index == start:
            common = len(prompt) - 1
            continue
        pairs = zip(prompts[start], prompt, strict=False)
        shared = min(common, len(prompt) - 1, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)))
        if index == start + 1 or shared >= MIN_PREFIX_SHARE * common:
            common = shared
        else:
            yield prompts[start:index], common
            start, common = index, len(prompt) - 1
    if prompts:
        yield prompts[start:], common


def _batches(prompts: Sequence[Tokens], common: int) -> Iterator[Sequence[Tokens]]:
    """Prompts by rising length in batches of bounded size."""
    start = 0
    for index, prompt in enumerate(prompts):
        rows = index - start + 1
        if rows > MAX_ROWS or (rows > 1 and rows * (len(prompt) - common) > MAX_TOKENS):
            yield prompts[start:index]
            start = index
    if prompts:
        yield prompts[start:]


def _repeated(cache: DynamicCache, rows: int) -> DynamicCache:
    """Copies of the keys and values of one row for several rows; a forward pass appends to the copies."""
    copies = DynamicCache()
    for layer in range(len(cache.layers)):
        stored = keys_and_values(cache, layer)
        assert stored is not None  # a cache made without a config has no layers of another class
        keys, values = (states.expand(rows, -1, -1, -1) for states in stored)
        copies.update(keys, values, layer)
    return copies
