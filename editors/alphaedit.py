"""AlphaEdit: Null-Space Constrained Knowledge Editing (Fang et al., ICLR 2025, arXiv:2410.02355).

MEMIT with each update projected on the approximate null space of other knowledge: P projects on the eigenvectors of
the covariance C of other keys whose eigenvalue is below a threshold. The keys K_p of earlier edits are also kept, so
that a later edit does not undo them:

    ΔW = R Kᵀ P (K_p K_pᵀ P + K Kᵀ P + L₂ I)⁻¹,     P = U₀ U₀ᵀ

The paper has L₂ = 1, the authors' settings 10. They recompute K_p after the last layer
is written. This is not needed: a layer's keys do not depend on that layer or those above, and those below had been
written when K was computed, so K_p is K.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from editors.core.edit import Edit
from editors.core.errors import HyperparameterError, StateMismatch
from editors.core.hyperparameters import LocateHyperparameters
from editors.core.resources import EditorResources
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.locate.closed_form import null_space, projected_keys
from editors.locate.layer_spread import SpreadEditor
from editors.models.projection import Matrix

PROJECTION = "projection:"
KEYS = "keys:"


class AlphaEditHyperparameters(LocateHyperparameters):
    """AlphaEdit's hyperparameters."""

    nullspace_threshold: float = Field(gt=0, description="eigenvalues of C below this, absolute, are free to change")
    L2: float = Field(gt=0, description="weight of the update's own length")
    context_template_length_params: tuple[tuple[int, int], ...] = Field(
        ((10, 5),), description="contexts to generate: pairs (length in tokens, how many)"
    )


class AlphaEdit(SpreadEditor):
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
        self._past: dict[str, Tensor] = {}  # keys of the edits so far by module path, [m, f]
        self._measured: dict[str, Tensor] = {}  # those of the batch at hand, [n, f]

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

    def _edit(self, edits: Sequence[Edit]) -> None:
        self._measured = {}
        super()._edit(edits)
        self._past = {path: torch.cat([self._before(path), keys]) for path, keys in self._measured.items()}

    def _before(self, path: str) -> Tensor:
        """Keys of the edits so far at one matrix, [m, f]."""
        return self._past.get(path, self._measured[path][:0])

    def _solve(self, matrix: Matrix, layer: int, keys: Tensor) -> Tensor:
        self._measured[matrix.path] = keys.T
        self.record(f"ks_after.layer{layer}", keys.T)
        projection = self._projections[matrix.path].to(keys.device)
        self._diagnostics[f"rank.{layer}"] = float(projection.diagonal().sum())
        return projected_keys(keys, self._before(matrix.path).T, projection, self.hyperparameters.L2)

    def _memory(self) -> dict[str, Tensor]:
        return {KEYS + path: keys.clone() for path, keys in self._past.items()}

    def _check_memory(self, memory: Mapping[str, Tensor]) -> None:
        if not memory:
            return
        wanted = {KEYS + matrix.path: matrix.stored(matrix.weight).shape[1] for matrix in self.matrices}
        if memory.keys() != wanted.keys():
            raise StateMismatch(f"the memory contains {', '.join(memory)}; it must contain {', '.join(wanted)}")
        counts = {keys.shape[0] for keys in memory.values() if keys.ndim == 2}
        for name, keys in memory.items():
            if keys.ndim != 2 or keys.shape[1] != wanted[name] or len(counts) != 1 or not keys.is_floating_point():
                raise StateMismatch(
                    f"{name} is {tuple(keys.shape)} {keys.dtype} in the state; it must be "
                    f"(edits, {wanted[name]}), floating point, with the same number of edits in each layer"
                )

    def _load_memory(self, memory: Mapping[str, Tensor]) -> None:
        device = self._model.device
        self._past = {name.removeprefix(KEYS): keys.detach().clone().to(device) for name, keys in memory.items()}
