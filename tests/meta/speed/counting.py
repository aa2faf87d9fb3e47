"""How often a model is run forward and backward, counted block by block: editors run parts of models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from editors.core.typing import PreTrainedModel
from editors.models.architecture import Architecture, States, first_tensor


@dataclass
class Passes:
    """What was run, in whole-model equivalents: block calls over the number of blocks.

    Attributes:
        forward: Blocks run forward.
        backward: Blocks that a gradient went back through.
        tokens: Tokens of all rows, padding included, that went forward.
    """

    forward: float = 0.0
    backward: float = 0.0
    tokens: float = 0.0


@contextmanager
def counting(model: PreTrainedModel) -> Iterator[Passes]:
    """Count what is run of a model inside the `with`."""
    passes, blocks = Passes(), Architecture(model).blocks
    share = 1 / len(blocks)

    def back(_gradient: Tensor) -> None:
        passes.backward += share

    def hook(_block: nn.Module, _args: object, output: States) -> None:
        states = first_tensor(output)
        passes.forward += share
        passes.tokens += share * states.shape[0] * states.shape[1]
        if states.requires_grad:
            states.register_hook(back)

    handles = [block.register_forward_hook(hook) for block in blocks]
    try:
        yield passes
    finally:
        for handle in handles:
            handle.remove()
