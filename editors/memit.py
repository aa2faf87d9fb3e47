"""MEMIT: Mass-Editing Memory in a Transformer (Meng et al., ICLR 2023, arXiv:2210.07229).

Several edits in one batch, spread over several layers. For each edit a vector z is optimized: as the output of
the last edited block at the subject's last token it makes the model give the new answer. Then each layer, from the
lowest up, adds its share of the remaining residual, R = (z - h) / (layers left), to its down-projection. The update is
the least-squares solution that preserves the outputs for other keys, whose covariance is C:

    ΔW = R Kᵀ (λ C + K Kᵀ)⁻¹

K holds the edits' keys as columns, h is the current output of the last edited block.
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
