"""The part of the forward pass that value optimization repeats: the model above the changed vector.

While a vector at one (block, token) is optimized, everything in lower blocks and at earlier tokens is
constant. A `CachedWindow` therefore runs only the blocks above the site, only on the tokens from the fact
token to the last label, attends to the stored keys and values of the earlier tokens, and computes logits only
where a label is read. `PlainWindow` computes the same numbers with whole forward passes, for models that
`CachedWindow` does not support.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from editors.models.architecture import States, first_tensor
from editors.models.compat import BLOCK_CACHE_ARGUMENTS, keys_and_values, takes_any_mask
from editors.models.hooks import forward_hooks
from editors.models.trace import Arguments, Trace

_BY_POSITION = ("position_ids", "position_embeddings")
_DROPPED = ("cache_position",)  # read by static caches only


class Window(Protocol):
    """Logits at all labels of all rows, given what is added to the site at each row's fact token."""

    @property
    def facts(self) -> Tensor:
        """Index of each row's fact token in the states that the window runs, [B]."""

    def logits(self, delta: Tensor) -> Tensor:
        """Logits [labels of all rows in order, V] with `delta` [d] added."""

    def unchanged(self) -> Tensor:
        """The same logits with nothing added."""


def adding_hook(delta: Tensor, facts: Tensor) -> Callable[..., States]:
    """A forward hook that adds `delta` [d] to a module's output at the fact tokens [B]."""
    rows = torch.arange(len(facts), device=facts.device)

    def hook(_module: nn.Module, _args: object, output: States) -> States:
        states = first_tensor(output)
        change = torch.zeros_like(states).reshape(len(rows), -1, states.shape[-1])  # OPT's MLP has no rows
        where = rows.to(states.device), facts.to(states.device)
        change = change.index_put(where, delta.to(states).expand(len(rows), -1))
        states = states + change.reshape(states.shape)
        return (states, *output[1:]) if isinstance(output, tuple) else states

    return hook


class CachedWindowUnsupported(Exception):  # noqa: N818 - internal signal: use the plain window
    """`CachedWindow` does not support this model."""


class FixedKVCache:
    """Cache for one attention layer that prepends stored keys and values to the new ones and stores nothing."""

    def __init__(self, keys: Tensor, values: Tensor, *, length: int) -> None:
        self.keys = keys[:, :, :length]
        self.values = values[:, :, :length]

    def update(self, keys: Tensor, values: Tensor, *_args: object, **_kwargs: object) -> tuple[Tensor, Tensor]:
        """The stored keys and values with the new ones behind them."""
        return torch.cat([self.keys, keys], dim=2), torch.cat([self.values, values], dim=2)


class CachedWindow:
    """Blocks above the site on the tokens from the fact token on.

    Args:
        trace: The pass with nothing added.
        site: Block to whose output (or MLP output: the same thing in a pre-norm block) the vector is added; -1:
            to what enters the first block.
        early: Block after which all labels but the last are read; the last block unless the loss is a logit
            lens.

    Raises:
        CachedWindowUnsupported: An argument of the blocks or the attention implementation is not known.
    """

    def __init__(self, trace: Trace, site: int, early: int) -> None:
        architecture = trace.architecture
        if not takes_any_mask(architecture.trunk.config) or not architecture.family.only_attends:
            raise CachedWindowUnsupported
        self._architecture = architecture
        self._site = site
        self._early = early
        start, ends = trace.lookup, [max((*row.labels, row.lookup)) for row in trace.rows]
        width = max(end - row.lookup for end, row in zip(ends, trace.rows, strict=True)) + 1
        steps = torch.arange(width, device=start.device)
        last = torch.tensor(ends, device=start.device)
        self._positions = torch.minimum(start[:, None] + steps, last[:, None])  # [B, S], padded with the last
        self._real = start[:, None] + steps <= last[:, None]
        self._rows = torch.arange(len(trace.rows), device=start.device)[:, None]
        self._start = self._at_positions(trace.entering[site + 1])  # [B, S, d]
        self._masks: dict[int, Tensor] = {}
        self._calls = {layer: self._arguments(trace, layer) for layer in range(site + 1, architecture.depth)}
        labels = [(index, label - row.lookup) for index, row in enumerate(trace.rows) for label in row.labels]
        self._label_rows, self._label_steps = torch.tensor(labels, device=start.device).T
        self.facts = torch.zeros_like(start)

    def _arguments(self, trace: Trace, layer: int) -> Arguments:
        """A block's own arguments, cut to the window."""
        named: Arguments = {}
        for name, value in trace.calls[layer].items():
            if name in BLOCK_CACHE_ARGUMENTS:
                stored = keys_and_values(trace.cache, layer)
                if stored is None:
                    raise CachedWindowUnsupported
                named[name] = FixedKVCache(*stored, length=int(trace.lookup.max()))
            elif name == "attention_mask":
                named[name] = self._mask(trace, value)
            elif name in _BY_POSITION:
                named[name] = self._cut(value)
            elif name not in _DROPPED:
                if isinstance(value, Tensor):
                    raise CachedWindowUnsupported
                named[name] = value
        if not set(BLOCK_CACHE_ARGUMENTS) & set(named) or "attention_mask" not in named:
            raise CachedWindowUnsupported
        return named

    def _cut(self, value: States | None) -> States | None:
        """Values given per position ([1 or B, length, ...], or a tuple of such) at the window's positions."""
        if isinstance(value, tuple):
            return tuple(self._at_positions(part) for part in value)
        return None if value is None else self._at_positions(value)

    def _at_positions(self, value: Tensor) -> Tensor:
        rows, positions = self._rows.to(value.device), self._positions.to(value.device)
        return value.expand(len(self._rows), *value.shape[1:])[rows, positions]

    def _mask(self, trace: Trace, mask: Tensor | None) -> Tensor:
        """Additive mask [B, 1, S, prefix + S], derived from the model's own mask (causal if it has none)."""
        if id(mask) in self._masks:
            return self._masks[id(mask)]
        length = trace.ids.shape[1]
        if mask is None:
            allowed = torch.ones(length, length, dtype=torch.bool, device=trace.ids.device).tril()[None, None]
        elif mask.ndim == 4 and mask.shape[1] == 1:
            allowed = (mask if mask.dtype == torch.bool else mask == 0).to(trace.ids.device)
        else:
            raise CachedWindowUnsupported
        allowed = allowed.expand(len(self._rows), 1, -1, -1)[:, 0]  # [B, length, length]
        queries = allowed[self._rows, self._positions]  # [B, S, length]
        before = torch.arange(int(trace.lookup.max()), device=allowed.device) < trace.lookup[:, None]
        left = queries[:, :, : before.shape[1]] & before[:, None]
        right = queries.gather(2, self._positions[:, None].expand(-1, queries.shape[1], -1)) & self._real[:, None]
        both = torch.cat([left, right], dim=2)[:, None]
        dtype = self._start.dtype
        window_mask = torch.zeros(both.shape, dtype=dtype, device=both.device)
        self._masks[id(mask)] = window_mask.masked_fill_(~both, torch.finfo(dtype).min)
        return self._masks[id(mask)]

    def logits(self, delta: Tensor) -> Tensor:
        """Logits [labels, V] with `delta` [d] added to the site's output at each fact token."""
        start = self._start
        return self._onward(torch.cat([start[:, :1] + delta.to(start), start[:, 1:]], dim=1))

    def unchanged(self) -> Tensor:
        """Logits [labels, V] with nothing added."""
        return self._onward(self._start)

    def _onward(self, states: Tensor) -> Tensor:
        read = self._read(states)
        for layer, named in self._calls.items():
            states = first_tensor(self._architecture.blocks[layer](states, **named))
            if layer == self._early:
                read = self._read(states)
        if self._early != self._architecture.depth - 1:
            read = torch.cat([read[:-1].to(states.device), self._read(states)[-1:]])
        logits: Tensor = self._architecture.head(self._architecture.norm(read))
        return logits

    def _read(self, states: Tensor) -> Tensor:
        return states[self._label_rows.to(states.device), self._label_steps.to(states.device)]


class PlainWindow:
    """The same logits by whole forward passes; arguments as for `CachedWindow`."""

    def __init__(self, trace: Trace, site: int, early: int) -> None:
        self._trace = trace
        self._site = site
        self._early = early
        labels = [(index, label) for index, row in enumerate(trace.rows) for label in row.labels]
        self._label_rows, self._labels = torch.tensor(labels, device=trace.ids.device).T
        self.facts = trace.lookup

    def logits(self, delta: Tensor) -> Tensor:
        """Logits [labels, V] with `delta` [d] added to the site's output at each fact token."""
        with forward_hooks((self._trace.architecture.blocks[self._site], adding_hook(delta, self.facts))):
            return self.unchanged()

    def unchanged(self) -> Tensor:
        """Logits [labels, V] with nothing added."""
        architecture, taps = self._trace.architecture, {}

        def tap(layer: int) -> Callable[..., None]:
            def hook(_module: nn.Module, _args: object, output: States) -> None:
                states = first_tensor(output)
                taps[layer] = states[self._label_rows.to(states.device), self._labels.to(states.device)]

            return hook

        last = architecture.depth - 1
        with forward_hooks(*((architecture.blocks[layer], tap(layer)) for layer in {self._early, last})):
            architecture.trunk(input_ids=self._trace.ids, attention_mask=self._trace.mask, use_cache=False)
        read = torch.cat([taps[self._early][:-1].to(taps[last].device), taps[last][-1:]])
        logits: Tensor = architecture.head(architecture.norm(read))
        return logits


class WriterWindow:
    """The same logits, given what is added to what a block's down-projection writes, and not to the block's output.

    What the block makes of it (a norm behind the MLP, a factor) is a part of the pass. Arguments as for `CachedWindow`.
    """

    def __init__(self, trace: Trace, site: int, early: int) -> None:
        self._window = open_window(trace, site - 1, early)  # block `site` itself is run too
        self._writer = trace.architecture.down(site).module

    @property
    def facts(self) -> Tensor:
        """See `Window`."""
        return self._window.facts

    def logits(self, delta: Tensor) -> Tensor:
        """Logits [labels, V] with `delta` [d] added to the down-projection's output at each fact token."""
        with forward_hooks((self._writer, adding_hook(delta, self.facts))):
            return self._window.unchanged()

    def unchanged(self) -> Tensor:
        """Logits [labels, V] with nothing added."""
        return self._window.unchanged()


def open_window(trace: Trace, site: int, early: int) -> Window:
    """Return a cached window if the model supports it, else a plain one."""
    try:
        return CachedWindow(trace, site, early)
    except CachedWindowUnsupported:
        return PlainWindow(trace, site, early)
