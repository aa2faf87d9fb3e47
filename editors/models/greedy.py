"""Greedy decoding of one row, with a cache where the model returns one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from editors.core.errors import UnsupportedModel
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
        cache, new = returned_cache(output), ids.new_tensor([generated[-1:]])
        if cache is None and hooks is not _no_hooks:
            raise UnsupportedModel(
                f"{type(model).__name__} returns no cache, without which no generated token is alone"
            )
        ids = new if cache is not None else torch.cat([ids, new], dim=1)
    return generated
