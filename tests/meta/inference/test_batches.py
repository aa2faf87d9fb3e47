"""Batches: every prompt once, after the prefix that it shares, within the bounds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from editgate.inference.batches import Batch, Prefixes, batches, prefix_passes
from editgate.inference.kv_cache import PreallocatedCacheLayer
from editgate.inference.prefix_groups import PASS_COST, Row
from editgate.inference.tokenize import Tokens

MOST, MOST_PREFIXES = 40, 24
PROMPTS = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(0, 2), min_size=1, max_size=12)).map(
        lambda drawn: (9, *[drawn[0]] * 8 * drawn[0], *drawn[1])  # four headers of several lengths
    ),
    min_size=1,
    max_size=80,
).map(sorted)


def _cut(prompts: Sequence[Tokens]) -> tuple[list[Batch], list[Sequence[Tokens]]]:
    """The batches of prompts, and the prefixes that were run for them, pass by pass."""
    passes: list[Sequence[Tokens]] = []

    def run(prefixes: Sequence[Tokens]) -> Prefixes:
        """What stands in the place of a key is the token itself."""
        passes.append(prefixes)
        lengths = np.array([len(tokens) for tokens in prefixes])
        layer = PreallocatedCacheLayer(int(lengths.max()))
        keys = torch.full((len(prefixes), 1, int(lengths.max()), 1), -1.0)
        for row, tokens in enumerate(prefixes):
            keys[row, 0, : len(tokens), 0] = torch.tensor(tokens, dtype=torch.float32)
        layer.update(keys, keys)
        return Prefixes(lengths, [layer])

    def pack(index: int, prefix: int) -> Row:
        return Row.pack(prompts[index], prefix)

    return list(batches(prompts, pack, run, most=MOST, most_prefixes=MOST_PREFIXES)), passes


@given(prompts=PROMPTS)
@settings(max_examples=100, deadline=None)
def test_each_prompt_is_run_once_after_its_own_prefix(prompts: Sequence[Tokens]) -> None:
    """The keys that a row gets, cut to its own past, and its tokens are the prompt."""
    found, _ = _cut(prompts)
    assert sorted(index for batch in found for index in batch.prompts) == list(range(len(prompts)))
    for batch in found:
        layers = batch.layers(more=3)
        assert all(layer.capacity == batch.past.max() + 3 for layer in layers)
        for row, index in enumerate(batch.prompts):
            before = layers[0].buffers[0][row, 0, : batch.past[row], 0].int().tolist() if layers else []
            assert (*before, *batch.rows[row].tokens) == prompts[index]


@given(prompts=PROMPTS)
@settings(max_examples=100, deadline=None)
def test_no_pass_is_larger_than_allowed(prompts: Sequence[Tokens]) -> None:
    """Rows, and the prefixes that they share, stay within their bounds when padded to the longest; or there is one."""
    found, passes = _cut(prompts)
    for sizes, most in [
        *(([len(row.tokens) for row in batch.rows], MOST) for batch in found),
        *((list(map(len, prefixes)), MOST_PREFIXES) for prefixes in passes),
    ]:
        assert len(sizes) == 1 or len(sizes) * max(sizes) <= most


def test_rows_of_several_prefixes_are_run_together() -> None:
    """Short prompts with two headers make one batch."""
    prompts = sorted((9, *[header] * 10, question) for header in (1, 2) for question in range(10))
    (batch,), passes = _cut(prompts)
    assert len(passes) == 1
    assert set(batch.which) == {0, 1}


@given(lengths=st.lists(st.integers(0, 300), min_size=1, max_size=30).map(lambda drawn: sorted(drawn, reverse=True)))
@settings(max_examples=100, deadline=None)
def test_prefixes_of_about_one_length_are_run_in_one_pass(lengths: list[int]) -> None:
    """Each prefix is run once; padding costs at most another pass; no pass is of empty prefixes alone."""
    parts = [lengths[part] for part in prefix_passes(lengths)]
    assert [*chain.from_iterable(parts)] == lengths
    for part in parts:
        assert part[0] or len(parts) == 1
        assert sum(part[0] - length for length in part if length) <= PASS_COST
