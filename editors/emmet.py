"""EMMET: equality-constrained mass editing (Gupta et al., Findings of EMNLP 2024, arXiv:2403.14236, "EMMET").

ROME for a batch. ROME and MEMIT preserve the outputs for other keys, whose covariance is C, and memorize new values
for the edits' keys K: MEMIT by least squares, ROME, for one edit, by an equality. EMMET keeps the equality for a
batch, (W + ΔW) K = V with the least tr(ΔW C ΔWᵀ):

    ΔW = R (Kᵀ C⁻¹ K + w λ I)⁻¹ Kᵀ C⁻¹,     R = V - W K

λ is `emmet_lambda` and w `mom2_update_weight`; the authors write w C for C, and then λ. They add the term, which makes
the system solvable where keys depend on each other, for a batch only. One edit meets its equality; where ROME uses one
key too (the bare prompt is the only context), it is ROME's. With w λ everywhere EMMET would be MEMIT.

Values, keys and the share of each layer are MEMIT's, as in the authors' code. Their `update_norm_lambda`, 0 in all
published settings, is left out.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from editors.core.hyperparameters import LocateHyperparameters
from editors.locate.closed_form import constrained_keys, ridge_keys
from editors.locate.layer_spread import SpreadEditor
from editors.models.projection import Matrix


class EmmetHyperparameters(LocateHyperparameters):
    """EMMET's hyperparameters."""

    mom2_update_weight: float = Field(gt=0, description="w: how much other keys count against a batch's, times lambda")
    emmet_lambda: float = Field(0.1, ge=0, description="slack of the equalities of a batch; one edit has none")
    context_template_length_params: tuple[tuple[int, int], ...] = Field(
        ((10, 5),), description="contexts to generate: pairs (length in tokens, how many)"
    )


class Emmet(SpreadEditor):
    """ROME's equality constraint, for a batch."""

    name: ClassVar[str] = "emmet"
    Hyperparameters: ClassVar[type[LocateHyperparameters]] = EmmetHyperparameters
    hyperparameters: EmmetHyperparameters

    def _slack(self, count: int) -> float:
        """What is added to the diagonal for a batch of so many edits, w λ."""
        return self.hyperparameters.mom2_update_weight * self.hyperparameters.emmet_lambda if count > 1 else 0.0

    def _solve(self, matrix: Matrix, layer: int, keys: Tensor) -> Tensor:
        factor = self.factor(matrix)
        self._diagnostics[f"ridge.{layer}"] = factor.ridge
        slack = self._slack(keys.shape[1])
        return ridge_keys(keys, factor, slack) if slack else constrained_keys(keys, factor)
