"""How often a model is run forward and backward, counted block by block, and what the same costs with nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, takewhile
from math import ceil
from time import perf_counter

import torch
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
        heads: How often hidden states became logits.
        heads_back: How often a gradient went back through that.
        logits: Of how many tokens.
    """

    forward: float = 0.0
    backward: float = 0.0
    tokens: float = 0.0
    heads: int = 0
    heads_back: int = 0
    logits: int = 0


@dataclass(frozen=True)
class Floor:
    """What the counted passes take at least.

    Attributes:
        gigaflops: Floating-point operations of the blocks' matrices and the head, in 10^9.
        gigabytes: Of these matrices, read once a pass.
        seconds: Of the same passes of the bare model, over rows of `ROW` tokens, and of its head.
    """

    gigaflops: float
    gigabytes: float
    seconds: float


ROW = 16  # tokens: about as long as an edit's prompt
ROUNDS = 5
PASS = 2048  # tokens: what a small model's passes gain nothing from exceeding


def floor(model: PreTrainedModel, passes: Passes) -> Floor:
    """Return the floor of what was counted; a method without a pass has none but 0."""
    blocks, head = _floor_of_blocks(model, passes), _floor_of_head(model, passes)
    return Floor(blocks.gigaflops + head.gigaflops, blocks.gigabytes + head.gigabytes, blocks.seconds + head.seconds)


def _floor_of_head(model: PreTrainedModel, passes: Passes) -> Floor:
    if not passes.heads:
        return Floor(0.0, 0.0, 0.0)
    head: nn.Module = model.get_output_embeddings()
    weight = next(head.parameters())
    states = torch.zeros(ceil(passes.logits / passes.heads), model.config.hidden_size, device=model.device)
    there, back = _there_and_back(head, head, states)
    times = passes.heads + passes.heads_back
    flops = 2 * weight.numel() * passes.logits * times / passes.heads
    return Floor(flops / 1e9, weight.nbytes * times / 1e9, passes.heads * there + passes.heads_back * back)


def _floor_of_blocks(model: PreTrainedModel, passes: Passes) -> Floor:
    weights = [weight for block in Architecture(model).blocks for weight in block.parameters() if weight.dim() == 2]
    size, backward = sum(weight.numel() for weight in weights), passes.backward / max(passes.forward, 1e-9)
    read = sum(weight.nbytes for weight in weights) * (passes.forward + passes.backward)
    flops = 2 * size * passes.tokens * (1 + backward)
    rows = max(1, ceil(passes.tokens / max(passes.forward, 1e-9) / ROW))
    inputs = torch.zeros(rows, ROW, model.config.hidden_size, device=model.device)
    there, back = _there_and_back(model, partial(_body, model), inputs)
    return Floor(flops / 1e9, read / 1e9, passes.forward * there + passes.backward * back)


def _body(model: PreTrainedModel, inputs: Tensor) -> Tensor:
    states: Tensor = model.base_model(inputs_embeds=inputs, use_cache=False).last_hidden_state
    return states


def _there_and_back(module: nn.Module, run: Callable[[Tensor], Tensor], inputs: Tensor) -> tuple[float, float]:
    """Return the seconds of a forward pass, and those that a gradient takes from its outputs back to its inputs."""
    needed = [weight for weight in module.parameters() if weight.requires_grad]
    module.requires_grad_(requires_grad=False)

    def forward() -> None:
        with torch.no_grad():
            run(inputs)

    def both() -> None:
        run(inputs.clone().requires_grad_()).sum().backward()

    there, and_back = _best(forward), _best(both)
    for weight in needed:
        weight.requires_grad_()
    return there, max(0.0, and_back - there)


def bare(model: PreTrainedModel, sequences: Sequence[Sequence[int]]) -> float:
    """Return the seconds of the model alone for every token once: of two sequences that begin alike, once for both.

    What reads all of them with this model takes no less. Rows are as long as a sequence is on average.

    Args:
        model: on the CPU, with one thread.
        sequences: prompts with what comes after them, in tokens.
    """
    ordered = sorted(map(tuple, sequences))
    pairs = (takewhile(lambda both: both[0] == both[1], zip(*pair, strict=False)) for pair in pairwise(ordered))
    shared = sum(len([*alike]) for alike in pairs)
    length = ceil(sum(map(len, ordered)) / len(ordered))
    rows = max(1, PASS // length)
    inputs = torch.zeros(rows, length, model.config.hidden_size, device=model.device)

    def forward() -> None:
        with torch.inference_mode():
            _body(model, inputs)

    return _best(forward) * (sum(map(len, ordered)) - shared) / (rows * length)


def _best(run: Callable[[], None]) -> float:
    times = []
    for _ in range(ROUNDS):
        began = perf_counter()
        run()
        times.append(perf_counter() - began)
    return min(times)


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

    def head_back(_gradient: Tensor) -> None:
        passes.heads_back += 1

    def head_hook(_head: nn.Module, _args: object, logits: Tensor) -> None:
        passes.heads += 1
        passes.logits += logits.numel() // logits.shape[-1]
        if logits.requires_grad:
            logits.register_hook(head_back)

    handles = [block.register_forward_hook(hook) for block in blocks]
    handles.append(model.get_output_embeddings().register_forward_hook(head_hook))
    try:
        yield passes
    finally:
        for handle in handles:
            handle.remove()
