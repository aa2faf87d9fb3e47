"""Trace of one forward pass over the rows of an edit, so that later passes start where they differ.

A `Trace` holds, for all rows, the hidden states that enter each block, each block's keys and values, and each
edited matrix's input at the looked-up token. `advance` runs on from a block whose weights have changed since.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from editors.models.architecture import Architecture, States, first_tensor
from editors.models.compat import BLOCK_CACHE_ARGUMENTS, DynamicCache, forward_with_cache
from editors.models.hooks import Hook, forward_hooks, forward_pre_hooks
from editors.models.projection import Matrix
from editors.models.tokens import Row

Arguments = dict[str, Any]


@cache
def _signature(forward: Callable[..., object]) -> inspect.Signature:
    return inspect.signature(forward)


def bind(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, Arguments]:
    """Bind the arguments of a block's call: return the name of the first one, and all of them by name."""
    signature = _signature(type(block).forward)
    bound = signature.bind(block, *args, **kwargs)
    named: Arguments = {}
    for name, value in list(bound.arguments.items())[1:]:
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            named.update(value)
        else:
            named[name] = value
    return next(iter(named)), named


def pad(rows: Sequence[Row], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and mask [B, length], padded on the right with id 0 and mask 0."""
    length = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + (0,) * (length - len(row.ids)) for row in rows], device=device)
    mask = torch.tensor([[1] * len(row.ids) + [0] * (length - len(row.ids)) for row in rows], device=device)
    return ids, mask


class Trace:
    """One pass without gradient over right-padded rows.

    Attributes:
        rows: The rows, B of them.
        ids, mask: Token ids and attention mask, [B, length].
        lookup: Index of each row's fact token, [B].
        entering: Hidden states [B, length, d] that enter block l, for l = 0 .. depth; the last is the final
            output.
        calls: Each block's arguments by name, as the model gave them, without the hidden states.
        cache: The keys and values of all blocks; empty where not attention alone mixes tokens.
        keys: Input of the down-projection at the fact token, [B, f], per recorded layer.
        outputs: What the down-projection writes at the fact token, [B, d], per recorded layer.
        inputs, results: Input [B, in] and output [B, out] at the fact token of each recorded matrix, by its path.
    """

    def __init__(
        self, architecture: Architecture, rows: Sequence[Row], recorded: Sequence[int], matrices: Sequence[Matrix] = ()
    ) -> None:
        self.architecture = architecture
        self.rows = tuple(rows)
        device = next(architecture.trunk.parameters()).device
        self.ids, self.mask = pad(rows, device)
        self.lookup = torch.tensor([row.lookup for row in rows], device=device)
        self.entering: list[Tensor] = []
        self.calls: list[Arguments] = []
        self.cache = DynamicCache()
        self.keys: dict[int, Tensor] = {}
        self.outputs: dict[int, Tensor] = {}
        self.inputs: dict[str, Tensor] = {}
        self.results: dict[str, Tensor] = {}
        self._rows = torch.arange(len(rows), device=device)
        self._recorded = tuple(recorded)
        self._matrices = tuple(matrices)
        self._run()

    @torch.no_grad()
    def _run(self) -> None:
        def keep_input(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            first, named = bind(block, args, kwargs)
            self.entering.append(named.pop(first))
            self.calls.append(named)

        def keep_last_output(_block: nn.Module, _args: object, output: States) -> None:
            self.entering.append(first_tensor(output))

        blocks = self.architecture.blocks
        before = forward_pre_hooks(*((block, keep_input) for block in blocks), with_kwargs=True)
        with self._recording(), before, forward_hooks((blocks[-1], keep_last_output)):
            if self.architecture.family.only_attends:
                forward_with_cache(self.architecture.trunk, self.ids, self.cache, attention_mask=self.mask)
            else:  # its states are no keys and values: windows run whole passes
                self.architecture.trunk(input_ids=self.ids, attention_mask=self.mask, use_cache=False)

    def _recording(self) -> AbstractContextManager[None]:
        """Record, in the block, what the attributes `keys`, `outputs`, `inputs` and `results` say."""

        def of_layer(layer: int) -> Hook:
            def hook(_module: nn.Module, args: tuple[Tensor, ...], output: States) -> None:
                self.keys[layer] = self.at_lookup(args[0])
                self.outputs[layer] = self.at_lookup(first_tensor(output))

            return hook

        def of_matrix(path: str) -> Hook:
            def hook(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
                self.inputs[path] = self.at_lookup(args[0])
                self.results[path] = self.at_lookup(output)

            return hook

        layers = [(self.architecture.down(layer).module, of_layer(layer)) for layer in self._recorded]
        matrices = [(matrix.module, of_matrix(matrix.path)) for matrix in self._matrices]
        return forward_hooks(*layers, *matrices)

    def at_lookup(self, states: Tensor) -> Tensor:
        """States [B, length, width] (in OPT's MLP [B length, width]) at each row's fact token, [B, width]."""
        rows, lookup = self._rows.to(states.device), self.lookup.to(states.device)  # blocks may be on several devices
        return states.reshape(len(self.rows), -1, states.shape[-1])[rows, lookup]

    def leaving(self, layer: int) -> Tensor:
        """Output of a block at the fact token, [B, d]."""
        return self.at_lookup(self.entering[layer + 1])

    def drop_cache(self) -> None:
        """Free the keys and values; no window can be opened on this trace afterwards."""
        self.cache = DynamicCache()

    @torch.no_grad()
    def advance(self, first: int, last: int) -> None:
        """Run blocks first .. last again from what entered `first`, after weights in these blocks have changed.

        Updates `entering` and everything recorded up to block `last`, but not the keys and values: a window opened
        before keeps its numbers, and a new window needs a new trace.
        """
        with self._recording():
            for layer in range(first, last + 1):
                named = {
                    name: None if name in BLOCK_CACHE_ARGUMENTS else value for name, value in self.calls[layer].items()
                }
                output = self.architecture.blocks[layer](self.entering[layer], **named)
                self.entering[layer + 1] = first_tensor(output)
