"""Keys and values that are never copied as a text grows."""

from __future__ import annotations

from torch import Tensor

from editgate.compat.transformers import DynamicLayer


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
