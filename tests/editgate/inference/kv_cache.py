"""Keys and values that are never copied, and attention for one new token at a time on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from editgate.compat.transformers import DynamicLayer, attention, attention_implementation, fused_attention

SINGLE_QUERY = "editgate_single_query"  # what transformers calls `single_query_attention`


class PreallocatedCacheLayer(DynamicLayer):
    """Keys and values of one attention layer in a buffer for `capacity` tokens, [B, heads, capacity, head size].

    transformers' own dynamic layer concatenates at each step, which for a long text copies everything that was
    written before, once a token.

    Attributes:
        capacity: tokens that fit.
        used: tokens that are there.
        buffers: keys and values; empty before the first update.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        self.capacity = capacity
        self.used = 0
        self.buffers: tuple[Tensor, ...] = ()

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Append [B, heads, Q, head size] each and return all keys and all values so far."""
        return self._append(key_states, value_states, key_states.shape[0])

    def repeated(self, rows: int, more: int) -> PreallocatedCacheLayer:
        """Return a layer with this layer's single row `rows` times and capacity for `more` tokens."""
        layer = PreallocatedCacheLayer(self.used + more)
        layer._append(*self._views(), rows)
        return layer

    def select_rows(self, rows: Tensor) -> None:
        """Drop all rows but these, given by index [rows]."""
        self.buffers = tuple(buffer[rows] for buffer in self.buffers)
        self._views()

    def _append(self, keys: Tensor, values: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        if not self.buffers:
            shapes = ((rows, new.shape[1], self.capacity, new.shape[3]) for new in (keys, values))
            self.buffers = tuple(keys.new_empty(shape) for shape in shapes)
            self.is_initialized = True
        start, self.used = self.used, self.used + keys.shape[2]
        for buffer, new in zip(self.buffers, (keys, values), strict=True):
            buffer[:, :, start : self.used] = new
        return self._views()

    def _views(self) -> tuple[Tensor, Tensor]:
        """Return the used part, and set it under the names that transformers reads."""
        keys, values = (buffer[:, :, : self.used] for buffer in self.buffers)
        self.keys, self.values = keys, values
        return keys, values


@contextmanager
def fast_decode_attention(model: Any) -> Iterator[None]:  # noqa: ANN401 - transformers' models share no typed base
    """Inside, a model on the CPU with PyTorch's fused attention uses `single_query_attention` while it generates.

    The fused kernel takes two to three times as long for a single query: it is made for many.
    """
    if model.device.type != "cpu" or attention_implementation(model.config) != "sdpa" or fused_attention() is None:
        yield
        return
    with attention(model.config, SINGLE_QUERY, single_query_attention):
        yield


def single_query_attention(  # noqa: PLR0917 - transformers' signature
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **others: Any,  # noqa: ANN401 - passed on as transformers gives them
) -> tuple[Tensor, Tensor | None]:
    """softmax(q kᵀ · scaling + mask) v, for a query of length 1; longer ones go to the fused kernel.

    Shapes: query [B, heads, 1, D], key and value [B, kv heads, K, D], mask [B, 1, 1, K]; the result is
    [B, 1, heads, D], as transformers wants it.
    """
    rows, heads, length, size = query.shape
    fused = fused_attention()
    if fused is not None and (length > 1 or attention_mask is None):
        return fused(module, query, key, value, attention_mask, scaling=scaling, **others)
    assert attention_mask is not None, "the engine always gives a mask"
    shared, keys = key.shape[1:3]
    grouped = query.reshape(rows * shared, heads // shared, size) * (size**-0.5 if scaling is None else scaling)
    scores = torch.bmm(grouped, key.reshape(rows * shared, keys, size).transpose(1, 2))
    weights = (scores.view(rows, heads, keys) + attention_mask[:, 0]).softmax(-1, dtype=torch.float32)
    weights = weights.to(query.dtype).view(rows * shared, heads // shared, keys)
    mixed = torch.bmm(weights, value.reshape(rows * shared, keys, size))
    return mixed.view(rows, 1, heads, size), None
