"""Shared by MEMIT and AlphaEdit: optimize a value per edit, then spread the residual over several layers.

For each edit a vector z is optimized: as the output of the last edited block at the fact token it makes the model
give the new answer. Then each layer, from the lowest up, adds its share of the remaining residual,
R = (z - h) / (layers left), to its down-projection as ΔW = R Aᵀ. The methods differ in how they compute A from the
edits' keys K.

Where a block normalizes or multiplies what its down-projection writes, z and h are that projection's output: what it
must write is what is searched. A constant factor is the same in all blocks; with a norm there can be one layer only.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from editors.core.edit import Edit
from editors.locate.base import Located, LocateEditor
from editors.models.contexts import Contexts
from editors.models.projection import Matrix


def mean_key(located: Located, keys: Tensor, contexts: Contexts) -> Tensor:
    """Mean [f] of an edit's keys [B, f] within each group of contexts, then over groups; in float32 or wider.

    The bare prompt is a group of its own, so it has the weight of a whole group.
    """
    keys = keys[: len(located.targets)]
    keys = keys.to(torch.promote_types(keys.dtype, torch.float32))
    groups = torch.split(keys, [len(group) for group in contexts])
    return torch.stack([group.mean(0) for group in groups]).mean(0)


class SpreadEditor(LocateEditor):
    """Base of the methods that spread a batch's values over several layers."""

    spreads: ClassVar[bool] = True
    takes_batches: ClassVar[bool] = True

    @abstractmethod
    def _solve(self, matrix: Matrix, layer: int, keys: Tensor) -> Tensor:
        """A [f, n], float64, of keys K [f, n]: the update is R Aᵀ."""

    def _edit(self, edits: Sequence[Edit]) -> None:
        layers = self.hyperparameters.layers
        last = layers[-1]
        located: list[Located] = []
        values: list[Tensor] = []
        for edit in edits:
            traced = self.locate(edit, self.contexts, layers)
            values.append(self.optimize_value(traced, last, self._present(traced), lens=True).value)
            traced.trace.drop_cache()
            located.append(traced)
        goal = torch.stack(values)  # z [n, d]
        self.record("z", goal)
        for left, layer in zip(range(len(layers), 0, -1), layers, strict=True):
            self._edit_layer(located, goal, layer, left)
            if layer != last:
                for traced in located:
                    traced.trace.advance(layer, last)

    def _present(self, located: Located) -> Tensor:
        """What the last edited block gives now for the bare prompt, h [d], where the search adds its vector."""
        last = self.hyperparameters.layers[-1]
        states = (
            located.trace.leaving(last)
            if self.architecture.family.adds_mlp_output_directly
            else located.trace.outputs[last]
        )
        return states[0]

    def _edit_layer(self, located: Sequence[Located], goal: Tensor, layer: int, left: int) -> None:
        """Write one layer's share; the traces must be of the current weights."""
        matrix = self.architecture.down(layer)
        keys = torch.stack([mean_key(traced, traced.trace.keys[layer], self.contexts) for traced in located])  # [n, f]
        present = torch.stack([self._present(traced) for traced in located])  # h [n, d]
        residual = (goal.double() - present.double()).T / left  # R [d, n]
        solved = self._solve(matrix, layer, keys.T)  # A [f, n]
        update = residual.to(solved.device) @ solved.T  # z is where the last layer is
        self._weights.write(matrix.parameter, matrix.added(update))
        self._diagnostics |= {f"update_norm.{layer}": float(update.norm())}
        for name, value in (("ks", keys), ("cur_z", present), ("adj_k", solved), ("resid", residual)):
            self.record(f"{name}.layer{layer}", value)
