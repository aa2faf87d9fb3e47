"""ENCORE: early stopping and norm-constrained editing (Gupta et al., Findings of EMNLP 2025, arXiv:2502.01636).

MEMIT that remembers its own edits. MEMIT solves each update against the covariance C of other keys as if no edit had
been before, so that a later one undoes earlier ones, and its matrices grow. ENCORE adds the keys K_p of all earlier
edits and a penalty on the update's length to what is preserved:

    ΔW = R Kᵀ (w C + μ I + K_p K_pᵀ + K Kᵀ)⁻¹

w is `mom2_update_weight`, μ `update_norm_lambda`. With P = μ I + Σ K Kᵀ over all edits, this one too, it is
R Kᵀ (w C + P)⁻¹: SimIE's recursion (Guo et al., ICML 2025) has the same P, without C, around any editor.

The value search ends early ("most-probable early stopping"): once the target was the likeliest token in all contexts
`mpes_steps` times. The authors' code looks at the generated contexts only and at one token; here all are looked at.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from editors.core.hyperparameters import LocateHyperparameters
from editors.locate.closed_form import ridge_keys
from editors.locate.key_memory import RememberingEditor
from editors.models.projection import Matrix


class EncoreHyperparameters(LocateHyperparameters):
    """ENCORE's hyperparameters."""

    mom2_update_weight: float = Field(gt=0, description="w: how much other keys count against those of edits")
    update_norm_lambda: float = Field(ge=0, description="mu: weight of the update's own length")
    mpes_steps: int | None = Field(
        None, ge=1, description="losses with the target the likeliest token that end a search; none: as in MEMIT"
    )
    context_template_length_params: tuple[tuple[int, int], ...] = Field(
        ((10, 5),), description="contexts to generate: pairs (length in tokens, how many)"
    )


class Encore(RememberingEditor):
    """MEMIT with a memory of its own edits, a penalty on length, and an early end of the search."""

    name: ClassVar[str] = "encore"
    Hyperparameters: ClassVar[type[LocateHyperparameters]] = EncoreHyperparameters
    hyperparameters: EncoreHyperparameters

    def _patience(self) -> int | None:
        return self.hyperparameters.mpes_steps

    def _preserved(self, matrix: Matrix) -> Tensor:
        """W C + μ I."""
        preserved = super()._preserved(matrix).to(torch.float64, copy=True)
        preserved.mul_(self.hyperparameters.mom2_update_weight)
        preserved.diagonal().add_(self.hyperparameters.update_norm_lambda)
        return preserved

    def _solve(self, matrix: Matrix, layer: int, keys: Tensor) -> Tensor:
        past = self.remember(matrix, keys)
        factor = self.factor(matrix)
        self._diagnostics[f"ridge.{layer}"] = factor.ridge
        self.record(f"past.layer{layer}", past)
        both = torch.cat([past, keys], 1)
        return ridge_keys(both, factor, 1.0)[:, past.shape[1] :]
