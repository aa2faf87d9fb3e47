"""MEMIT: Mass-Editing Memory in a Transformer (Meng et al., ICLR 2023, arXiv:2210.07229).

Several edits at once, spread over several layers. For each edit a vector z is found which, as the output of
the last edited block at the subject's last token, makes the model say the new answer. Then, layer by layer
from below, each down-projection takes its share of what is still missing, R = (z - h) / (layers left), as the
least-squares solution that keeps other keys, whose second moment is C, in place:

    ΔW = R Kᵀ (λ C + K Kᵀ)⁻¹

K holds the edits' keys as columns, h is the present output of the last edited block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from editors.parts.contexts import Contexts
from editors.parts.edit import Edit
from editors.parts.hyperparameters import LocateHyperparameters
from editors.parts.locate import Located, LocateEditor
from editors.parts.solve import ridge_keys


class MemitHyperparameters(LocateHyperparameters):
    """MEMIT's hyperparameters."""

    mom2_update_weight: float = Field(gt=0, description="lambda: how much other keys count against the new ones")
    context_template_length_params: tuple[tuple[int, int], ...] = Field(
        ((10, 5),), description="contexts to generate: pairs (length in tokens, how many)"
    )


def mean_keys(keys: Tensor, contexts: Contexts) -> Tensor:
    """Mean of keys [N, f] within each group of contexts, then over groups: the bare prompt is one of them."""
    groups = torch.split(keys, [len(group) for group in contexts])
    return torch.stack([group.mean(0) for group in groups]).mean(0)


class Memit(LocateEditor):
    """Mass-editing memory: ridge regression, layer by layer."""

    name: ClassVar[str] = "memit"
    Hyperparameters: ClassVar[type[LocateHyperparameters]] = MemitHyperparameters
    hyperparameters: MemitHyperparameters

    def apply_many(self, edits: Sequence[Edit]) -> None:
        """Apply all edits as one batch."""
        self._apply(edits)

    def _edit(self, edits: Sequence[Edit]) -> None:
        layers = self.hyperparameters.layers
        last = layers[-1]
        located: list[Located] = []
        found: list[Tensor] = []
        for edit in edits:
            each = self.locate(edit, self.contexts, layers)
            found.append(self.find_value(each, last, each.trace.leaving(last)[0], lens=True).value)
            each.trace.forget()
            located.append(each)
        goal = torch.stack(found)  # z [n, d]
        self.record("z", goal)
        for left, layer in zip(range(len(layers), 0, -1), layers, strict=True):
            self._edit_layer(located, goal, layer, left)
            if layer != last:
                for each in located:
                    each.trace.advance(layer, last)

    def _edit_layer(self, located: Sequence[Located], goal: Tensor, layer: int, left: int) -> None:
        """Write one layer's share; the traces are those of the weights as they are now."""
        matrix = self.anatomy.down(layer)
        last = self.hyperparameters.layers[-1]
        keys = torch.stack([self._key(each, layer) for each in located])  # [n, f]
        present = torch.stack([each.trace.leaving(last)[0] for each in located])  # h [n, d]
        residual = (goal.double() - present.double()).T / left  # R [d, n]
        factor = self.factor(matrix)
        solved = ridge_keys(keys.T, factor, self.hyperparameters.mom2_update_weight)  # A [f, n]
        update = residual @ solved.T
        self._weights.write(matrix.parameter, matrix.added(update))
        self._diagnostics |= {f"update_norm.{layer}": float(update.norm()), f"ridge.{layer}": factor.ridge}
        for name, value in (("ks", keys), ("cur_z", present), ("adj_k", solved), ("resid", residual)):
            self.record(f"{name}.layer{layer}", value)

    def _key(self, located: Located, layer: int) -> Tensor:
        keys = located.trace.keys[layer][: len(located.targets)]
        return mean_keys(keys.to(torch.promote_types(keys.dtype, torch.float32)), self.contexts)
