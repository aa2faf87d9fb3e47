"""Gradients through all blocks of a large model, without the memory of what each block computes on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from editors.models.architecture import Architecture


@contextmanager
def recomputed_blocks(architecture: Architecture) -> Iterator[None]:
    """In the `with` block a pass keeps only what enters each block; on the way back each block computes again.

    The gradients are those of an ordinary pass, bit by bit.
    """
    with ExitStack() as stack:
        for block in architecture.blocks:
            stack.callback(_put_back, block, vars(block).get("forward"))  # accelerate may have put one there
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        yield


def _put_back(block: nn.Module, forward: Callable[..., object] | None) -> None:
    if forward is None:
        del block.forward
    else:
        block.forward = forward
