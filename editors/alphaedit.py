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
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from editors.core.checksum import digest_tensors
from editors.core.errors import HyperparameterError, StateMismatch
from editors.core.hyperparameters import LocateHyperparameters
from editors.core.resources import EditorResources
from editors.core.tensors import Tensors
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.core.unfinished import kept_in
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
        self._projections = Tensors()  # by `projection:<module path>`, [f, f]

    def _needs_covariance(self) -> bool:
        return any(PROJECTION + matrix.path not in self._projections for matrix in self.matrices)

    def _prepare(self) -> None:
        super()._prepare()
        for matrix in self.matrices:
            if PROJECTION + matrix.path not in self._projections:
                self._projections.add(self._made(matrix))
            self._projection(matrix)

    def _made(self, matrix: Matrix) -> Mapping[str, Tensor]:
        """P of one matrix: in memory, or in the scratch folder, where one that a killed process made is taken up."""
        name, covariance = PROJECTION + matrix.path, self.covariance(matrix)
        if self.resources.scratch is None:
            return {name: self._project(matrix, covariance)}
        depends_on = {"C": covariance, "threshold": torch.tensor(self.hyperparameters.nullspace_threshold)}
        stem = f"projection-{digest_tensors(depends_on)[:16]}"
        return kept_in(self.resources.scratch, stem, name, partial(self._project, matrix, covariance))

    def _project(self, matrix: Matrix, covariance: Tensor) -> Tensor:
        """P of one matrix; in float32, as it is stored, so that a resumed editor uses the same one."""
        threshold = self.hyperparameters.nullspace_threshold
        projection, spectrum = null_space(covariance.to(matrix.weight.device), threshold)
        if not float(spectrum[0]) < threshold <= float(spectrum[-1]):
            raise HyperparameterError(
                f"alphaedit: nullspace_threshold is {threshold:g}, which leaves "
                f"{'nothing' if threshold <= float(spectrum[0]) else 'everything'} free to change in {matrix.path}; "
                f"it must lie within the spectrum of that matrix's covariance, {float(spectrum[0]):.3g} to "
                f"{float(spectrum[-1]):.3g} (median {float(spectrum.median()):.3g})"
            )
        return projection.float()

    def _projection(self, matrix: Matrix) -> Tensor:
        """P [f, f] of one matrix in float32, from where it is kept.

        Raises:
            StateMismatch: It is no projection of this matrix's inputs.
        """
        projection = self._projections[PROJECTION + matrix.path].float()
        width = matrix.stored(matrix.weight).shape[1]
        if projection.shape != (width, width) or not bool(torch.isfinite(projection).all()):
            raise StateMismatch(
                f"projection of {matrix.path} is {tuple(projection.shape)}, it must be ({width}, {width}) and finite"
            )
        rank = round(float(projection.diagonal().sum()))
        if not 0 < rank < width:
            raise StateMismatch(f"projection of {matrix.path} has rank {rank}; it must be between 1 and {width - 1}")
        return projection

    def _prepared_tensors(self) -> Mapping[str, Tensor]:
        return self._projections

    def _load_prepared(self, made: Mapping[str, Tensor]) -> None:
        """Projections by `projection:<module path>`; anything else is a covariance."""
        projections = {name for name in made if name.startswith(PROJECTION)}
        self._projections.add(made, projections)
        self._covariances.add(made, made.keys() - projections)

    def _solve(self, matrix: Matrix, layer: int, keys: Tensor) -> Tensor:
        past = self.remember(matrix, keys)
        self.record(f"ks_after.layer{layer}", keys.T)
        projection = self._projection(matrix).to(keys.device)
        self._diagnostics[f"rank.{layer}"] = float(projection.diagonal().sum())
        return projected_keys(keys, past, projection, self.hyperparameters.L2)
