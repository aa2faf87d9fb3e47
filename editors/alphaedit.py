"""AlphaEdit: Null-Space Constrained Knowledge Editing (Fang et al., ICLR 2025, arXiv:2410.02355).

MEMIT with each update projected on the approximate null space of other knowledge: P projects on the eigenvectors of
the covariance C of other keys whose eigenvalue is below a threshold. The keys K_p of earlier edits are also kept, so
that a later edit does not undo them:

    ΔW = R Kᵀ P (K_p K_pᵀ P + K Kᵀ P + L₂ I)⁻¹,     P = U₀ U₀ᵀ

The paper has L₂ = 1, the authors' settings 10. They recompute K_p after the last layer is written, which is not needed
(`editors/locate/key_memory.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from editors.core.errors import HyperparameterError, StateMismatch
from editors.core.hyperparameters import LocateHyperparameters
from editors.core.resources import EditorResources
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.locate.closed_form import null_space, projected_keys
from editors.locate.key_memory import RememberingEditor
from editors.models.projection import Matrix

PROJECTION = "projection:"


class AlphaEditHyperparameters(LocateHyperparameters):
    """AlphaEdit's hyperparameters."""

    nullspace_threshold: float = Field(gt=0, description="eigenvalues of C below this, absolute, are free to change")
    L2: float = Field(gt=0, description="weight of the update's own length")
    context_template_length_params: tuple[tuple[int, int], ...] = Field(
        ((10, 5),), description="contexts to generate: pairs (length in tokens, how many)"
    )


class AlphaEdit(RememberingEditor):
    """MEMIT with updates in the approximate null space of the keys to preserve.

    `prepared()` gives, and `load_prepared` takes, `projection:<module path>`: P [f, f] of each edited layer. The
    memory is `keys:<module path>`: K_pᵀ [m, f], one row an edit.
    """

    name: ClassVar[str] = "alphaedit"
    Hyperparameters: ClassVar[type[LocateHyperparameters]] = AlphaEditHyperparameters
    hyperparameters: AlphaEditHyperparameters

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        hyperparameters: AlphaEditHyperparameters,
        resources: EditorResources | None = None,
    ) -> None:
        super().__init__(model, tokenizer, hyperparameters=hyperparameters, resources=resources)
        self._projections: dict[str, Tensor] = {}  # by module path, [f, f] float32

    def _needs_covariance(self) -> bool:
        return any(matrix.path not in self._projections for matrix in self.matrices)

    def _prepare(self) -> None:
        super()._prepare()
        for matrix in self.matrices:
            if matrix.path not in self._projections:
                self._projections[matrix.path] = self._project(matrix)
            self._check_projection(matrix, self._projections[matrix.path])

    def _project(self, matrix: Matrix) -> Tensor:
        """P of one matrix; in float32, as it is stored, so that a resumed editor uses the same one."""
        threshold = self.hyperparameters.nullspace_threshold
        covariance = self._covariances[matrix.path].to(matrix.weight.device)
        projection, spectrum = null_space(covariance, threshold)
        if not float(spectrum[0]) < threshold <= float(spectrum[-1]):
            raise HyperparameterError(
                f"alphaedit: nullspace_threshold is {threshold:g}, which leaves "
                f"{'nothing' if threshold <= float(spectrum[0]) else 'everything'} free to change in {matrix.path}; "
                f"it must lie within the spectrum of that matrix's covariance, {float(spectrum[0]):.3g} to "
                f"{float(spectrum[-1]):.3g} (median {float(spectrum.median()):.3g})"
            )
        return projection.float()

    def _check_projection(self, matrix: Matrix, projection: Tensor) -> None:
        width = matrix.stored(matrix.weight).shape[1]
        if projection.shape != (width, width) or not bool(torch.isfinite(projection).all()):
            raise StateMismatch(
                f"projection of {matrix.path} is {tuple(projection.shape)}, it must be ({width}, {width}) and finite"
            )
        rank = round(float(projection.diagonal().sum()))
        if not 0 < rank < width:
            raise StateMismatch(f"projection of {matrix.path} has rank {rank}; it must be between 1 and {width - 1}")

    def _prepared_tensors(self) -> dict[str, Tensor]:
        return {PROJECTION + path: value for path, value in self._projections.items()}

    def _load_prepared(self, made: Mapping[str, Tensor]) -> None:
        """Projections by `projection:<module path>`; anything else is a covariance."""
        for name, value in made.items():
            if name.startswith(PROJECTION):
                self._projections[name.removeprefix(PROJECTION)] = value.float()
            else:
                self._covariances[name] = value

    def _solve(self, matrix: Matrix, layer: int, keys: Tensor) -> Tensor:
        past = self.remember(matrix, keys)
        self.record(f"ks_after.layer{layer}", keys.T)
        projection = self._projections[matrix.path].to(keys.device)
        self._diagnostics[f"rank.{layer}"] = float(projection.diagonal().sum())
        return projected_keys(keys, past, projection, self.hyperparameters.L2)
