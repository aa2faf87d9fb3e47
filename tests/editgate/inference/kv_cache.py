"""Keys and values that are never copied, and attention for one new token at a time on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward

SINGLE_QUERY = "editgate_one_query"


class PreallocatedCacheLayer(DynamicLayer):
    """Keys and values of one attention layer in a buffer of `room` places, [B, heads, room, head size].

    transformers' own dynamic layer concatenates at each step, which for a long text copies everything that
    was written before, once a token.
    """

    def __init__(self, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        self.room = room
        self.used = 0
        self.buffers: tuple[Tensor, ...] = ()

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Appends [B, heads, Q, head size] each and returns all keys and all values so far."""
        return self._append(key_states, value_states, key_states.shape[0])

    def widened(self, rows: int, room: int) -> PreallocatedCacheLayer:
        """Copies of this layer's single row, with room for more."""
        layer = PreallocatedCacheLayer(self.used + room)
        layer._append(*self._exposed(), rows)
        return layer

    def keep(self, rows: Tensor) -> None:
        """Drops all rows but these."""
        self.buffers = tuple(buffer[rows] for buffer in self.buffers)
        self._exposed()

    def _append(self, keys: Tensor, values: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        if not self.buffers:
            shapes = ((rows, new.shape[1], self.room, new.shape[3]) for new in (keys, values))
            self.buffers = tuple(keys.new_empty(shape) for shape in shapes)
            self.is_initialized = True
        start, self.used = self.used, self.used + keys.shape[2]
        for buffer, new in zip(self.buffers, (keys, values), strict=True):
            buffer[:, :, start : self.used] = new
        return self._exposed()

    def _exposed(self) -> tuple[Tensor, Tensor]:
        """What is in use, also under the names that transformers reads."""
        keys, values = (buffer[:, :, : self.used] for buffer in self.buffers)
        self.keys, self.values = keys, values
        return keys, values


@contextmanager
def fast_decode_attention(model: Any) -> Iterator[None]:  # noqa: ANN401 - transformers' models share no typed base
    """Inside, a model on the CPU with PyTorch's fused attention uses `single_query_attention` while it writes.

    The fused kernel spends twice to three times as long on a single query: it is made for many.
    """
    config = model.config
    usual = config._attn_implementation  # noqa: SLF001 - transformers has no public getter
    if model.device.type != "cpu" or usual != "sdpa":
        yield
        return
    config._attn_implementation = SINGLE_QUERY  # noqa: SLF001 - the public setter rebuilds more than this
    try:
        yield
    finally:
        config._attn_implementation = usual  # noqa: SLF001 - as above


def single_query_attention(  # noqa: PLR0917 - transformers' signature
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **others: Any,  # noqa: ANN401 - handed on as transformers gives them
) -> tuple[Tensor, None]:
    """softmax(q kᵀ · scaling + mask) v, for a query of length 1; longer ones go to the fused kernel.

    Shapes: query [B, heads, 1, D], key and value [B, kv heads, K, D], mask [B, 1, 1, K]; the result is
    [B, 1, heads, D], as transformers wants it.
    """
    rows, heads, length, size = query.shape
    if length > 1 or attention_mask is None:
        fused: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **others
        )
        return fused
    shared, keys = key.shape[1:3]
    grouped = query.reshape(rows * shared, heads // shared, size) * (size**-0.5 if scaling is None else scaling)
    scores = torch.bmm(grouped, key.reshape(rows * shared, keys, size).transpose(1, 2))
    weights = (scores.view(rows, heads, keys) + attention_mask[:, 0]).softmax(-1, dtype=torch.float32)
    weights = weights.to(query.dtype).view(rows * shared, heads // shared, keys)
    mixed = torch.bmm(weights, value.reshape(rows * shared, keys, size))
    return mixed.view(rows, 1, heads, size), None


AttentionInterface.register(SINGLE_QUERY, single_query_attention)
