"""Greedy decoding of one row with a cache."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from editors.core.typing import PreTrainedModel
from editors.models.compat import forward_with_cache, returned_cache


def _no_hooks(_step: int) -> AbstractContextManager[None]:
    return nullcontext()


@torch.no_grad()
def generate_greedily(
    model: PreTrainedModel,
    ids: Tensor,
    limit: int,
    eos_ids: frozenset[int],
    hooks: Callable[[int], AbstractContextManager[None]] = _no_hooks,
) -> list[int]:
    """Return the greedy continuation of a prompt, up to and including the first end token.

    Args:
        model: A causal language model.
        ids: Token ids of the prompt, [1, T].
        limit: Largest number of new tokens.
        eos_ids: Token ids that end the continuation.
        hooks: Context of each forward pass, by the number of tokens generated before it.
    """
    generated: list[int] = []
    cache = None
    while len(generated) < limit:
        with hooks(len(generated)):
            output = forward_with_cache(model, ids, cache)
        generated.append(int(output.logits[0, -1].argmax()))
        if generated[-1] in eos_ids:
            break
        ids, cache = ids.new_tensor([generated[-1:]]), returned_cache(output)
    return generated
