"""MEMIT: Mass-Editing Memory in a Transformer (Meng et al., ICLR 2023, arXiv:2210.07229).

Several edits at once, spread over several layers. For each edit a vector z is found which, as the output of
the last edited block at the subject's last token, makes the model say the new answer. Then, layer by layer
from below, each down-projection takes its share of what is still missing, R = (z - h) / (layers left), as the
least-squares solution that keeps other keys, whose second moment is C, in place:

    ΔW = R Kᵀ (λ C + K Kᵀ)⁻¹

K holds the edits' keys as columns, h is the present output of the last edited block.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from editors.core.hyperparameters import LocateHyperparameters
from editors.locate.closed_form import ridge_keys
from editors.locate.layer_spread import SpreadEditor
from editors.models.projection import Matrix


class MemitHyperparameters(LocateHyperparameters):
    """MEMIT's hyperparameters."""

    mom2_update_weight: float = Field(gt=0, description="lambda: how much other keys count against the new ones")
    context_template_length_params: tuple[tuple[int, int], ...] = Field(
        ((10, 5),), description="contexts to generate: pairs (length in tokens, how many)"
    )


class Memit(SpreadEditor):
    """Mass-editing memory: ridge regression, layer by layer."""

    name: ClassVar[str] = "memit"
    Hyperparameters: ClassVar[type[LocateHyperparameters]] = MemitHyperparameters
    hyperparameters: MemitHyperparameters

    def _solve(self, matrix: Matrix, layer: int, keys: Tensor) -> Tensor:
        factor = self.factor(matrix)
        self._diagnostics[f"ridge.{layer}"] = factor.ridge
        return ridge_keys(keys, factor, self.hyperparameters.mom2_update_weight)
