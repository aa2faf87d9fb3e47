"""Keys and values that are never copied as a text grows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from editgate.compat.transformers import DynamicLayer


class PreallocatedCacheLayer(DynamicLayer):
    """Keys and values of one attention layer in a buffer for `capacity` tokens, [B, heads, capacity, head size].

    transformers' own dynamic layer concatenates at each step, which for a long text copies everything that was
    written before, once a token. Here new tokens are appended, or written to `columns` where the texts of a batch
    have come to different lengths.

    Attributes:
        capacity: tokens that fit.
        used: tokens that are there.
        buffers: keys and values; empty before the first update.
        columns: where the next update writes each row's tokens, [B, Q]; None to append.
    """

    def __init__(self, capacity: int, buffers: Sequence[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        self.capacity = capacity
        self.used = 0
        self.buffers = tuple(buffers)
        self.is_initialized = bool(buffers)
        self.columns: Tensor | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Write [B, heads, Q, head size] each and return all keys and all values up to the last one in use."""
        if self.columns is None:
            return self._append(key_states, value_states, key_states.shape[0])
        self._allocate(key_states, value_states, key_states.shape[0])
        columns = self.columns.to(key_states.device)  # blocks may be on several
        rows = torch.arange(len(columns), device=columns.device)[:, None]
        for buffer, new in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[rows, :, columns] = new.transpose(1, 2)
        return self._views()

    def write_to(self, columns: Tensor, used: int) -> None:
        """Let the next update write to these columns [B, Q]; `used` columns are in use then."""
        self.columns, self.used = columns, used

    def for_rows(self, rows: Tensor, past: int, more: int) -> PreallocatedCacheLayer:
        """Return a layer with copies of these rows [B], of their first `past` tokens, and capacity for `more`."""
        layer = PreallocatedCacheLayer(past + more)
        source = rows[:1] if bool((rows == rows[0]).all()) else rows  # one row is spread without a copy on the way
        keys, values = (buffer[source.to(buffer.device), :, :past] for buffer in self.buffers)
        layer._append(keys, values, len(rows))
        return layer

    def selected(self, rows: Tensor) -> PreallocatedCacheLayer:
        """Return a layer with copies of these rows, given by index [rows]."""
        return PreallocatedCacheLayer(self.capacity, [buffer[rows.to(buffer.device)] for buffer in self.buffers])

    @classmethod
    def joined(cls, layers: Sequence[PreallocatedCacheLayer]) -> PreallocatedCacheLayer:
        """Return a layer with all rows of layers of the same capacity."""
        parts = zip(*(layer.buffers for layer in layers), strict=True)
        return cls(layers[0].capacity, [torch.cat(part) for part in parts])

    def _append(self, keys: Tensor, values: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        self._allocate(keys, values, rows)
        start, self.used = self.used, self.used + keys.shape[2]
        for buffer, new in zip(self.buffers, (keys, values), strict=True):
            buffer[:, :, start : self.used] = new
        return self._views()

    def _allocate(self, keys: Tensor, values: Tensor, rows: int) -> None:
        if not self.buffers:
            shapes = ((rows, new.shape[1], self.capacity, new.shape[3]) for new in (keys, values))
            self.buffers = tuple(keys.new_zeros(shape) for shape in shapes)  # a masked key still counts if it is NaN
            self.is_initialized = True

    def _views(self) -> tuple[Tensor, Tensor]:
        """Return the used part, and set it under the names that transformers reads."""
        keys, values = (buffer[:, :, : self.used] for buffer in self.buffers)
        self.keys, self.values = keys, values
        return keys, values
