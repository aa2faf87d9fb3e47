"""UltraEdit: Training-, Subject-, and Memory-Free Lifelong Editing (Gu et al., TMLR 2026, arXiv:2505.14679).

One pass forward and one back. Each token that predicts a token of the new answers gives a row: what went into a
matrix, k, and the gradient g of the loss by what came out. Both are normalized by the mean and the spread of all rows
since the first edit ("lifelong normalization"), for matrices of one shape together:

    k^ = (k - mean) / std,     g^ = (g - mean) / std,     v = -lr |k^|² g^

A row's output shall change by v, and ridge regression over the rows of a turn, K and V, gives the update:

    ΔWᵀ = (KᵀK + I)⁻¹ Kᵀ V

It needs no subject and keeps no edits. Its running statistics are its state. A turn of the authors has 100 edits. A
turn of one has few rows, and the first ones are measured by little more than themselves.

The authors' code adds the spread of n rows to the statistics n / (n - 1) times, so that a turn of one row makes all
numbers NaN for ever. Here they are those of the rows, however the rows are cut into turns. EasyEdit's version forgets
the statistics after each turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from editors.core.edit import Edit
from editors.core.editor import Editor, Kind
from editors.core.errors import NoEffect, StateMismatch
from editors.core.hyperparameters import BaseHyperparameters, InnerParams
from editors.core.resources import EditorResources
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.core.weights import same_bits
from editors.locate.closed_form import projected_keys
from editors.models.architecture import Architecture
from editors.models.gradients import IGNORED, Batch, gradients
from editors.models.projection import Matrix
from editors.ultraedit.normalizer import Moments

Rows = tuple[Tensor, Tensor]  # keys [n, in] and gradients [n, out] of one matrix
PARTS = ("count", "mean", "squares")


class UltraEditHyperparameters(BaseHyperparameters):
    """UltraEdit's hyperparameters, with the names of the authors' code but for `inner_params`, EasyEdit's name."""

    inner_params: InnerParams | None = Field(
        None, description="matrices to edit; none: the down-projections of the two blocks before the last"
    )
    lr: float = Field(1e-6, gt=0, description="size of a row's wanted change, by |k^|² and the normalized gradient")
    token: Literal["ans", "mask"] = Field("ans", description="rows: tokens that predict the answer, or all of the text")
    batch_size: int = Field(10, ge=1, description="edits of a turn whose mean loss is differentiated at once")


class UltraEdit(Editor):
    """Ridge regression on normalized gradients.

    The memory is, for each shape of matrices, `count:<in>x<out>`, `mean:<in>x<out>` and `squares:<in>x<out>`:
    number of rows [1], their mean and their summed squares [in + out].
    """

    name: ClassVar[str] = "ultraedit"
    kind: ClassVar[Kind] = "weights"
    takes_batches: ClassVar[bool] = True
    Hyperparameters: ClassVar[type[BaseHyperparameters]] = UltraEditHyperparameters
    hyperparameters: UltraEditHyperparameters

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        hyperparameters: UltraEditHyperparameters,
        resources: EditorResources | None = None,
    ) -> None:
        super().__init__(model, tokenizer, hyperparameters=hyperparameters, resources=resources)
        architecture = Architecture(model)
        names = hyperparameters.inner_params or [
            architecture.down(layer).parameter
            for layer in range(max(architecture.depth - 3, 0), max(architecture.depth - 1, 1))
        ]
        self.matrices = [architecture.named("inner_params", name)[0] for name in names]
        self._moments: dict[str, Moments] = {}  # by shape

    def _edit(self, edits: Sequence[Edit]) -> None:
        device = self._model.device
        self._turn(
            list(self._chunks(Batch.of(self.tokenizer, [(edit.text, edit.target_new) for edit in edits], device)))
        )

    def _chunks(self, batch: Batch) -> Iterator[Batch]:
        """The texts in batches of `batch_size`, the longest first."""
        order = batch.mask.sum(1).argsort(descending=True, stable=True)
        for part in order.split(self.hyperparameters.batch_size):
            longest = int(batch.mask[part[0]].sum())
            yield Batch(*(each[part, :longest] for each in (batch.ids, batch.mask, batch.labels)))

    def _turn(self, batches: Sequence[Batch]) -> None:
        """Measure all batches with the current weights, then write every matrix."""
        moments = dict(self._moments)
        seen: list[list[Rows]] = [self._rows(batch) for batch in batches]
        for of_batch in seen:
            for matrix, rows in zip(self.matrices, of_batch, strict=True):
                shape, both = _shape(matrix), torch.cat(rows, 1)
                known = moments.get(shape) or self._none(both)
                moments[shape] = known.with_rows(both.to(known.mean.device))  # shared by matrices, wherever these are
        values: dict[str, Tensor] = {}
        for matrix, of_matrix in zip(self.matrices, zip(*seen, strict=True), strict=True):
            keys, slopes = (torch.cat(parts) for parts in zip(*of_matrix, strict=True))
            update = self._update(keys, slopes, moments[_shape(matrix)])
            values[matrix.parameter] = matrix.added(update)
            self._diagnostics[f"update_norm.{matrix.path}"] = float(update.norm())
            self.record(f"keys.{matrix.path}", keys)
            self.record(f"values_grad.{matrix.path}", slopes)
        if all(same_bits(value, self._weights[name]) for name, value in values.items()):
            raise NoEffect("ultraedit: the update changes no weight; is lr too small for the weights' dtype?")
        for name, value in values.items():
            self._weights.write(name, value)
        self._moments = moments

    def _none(self, rows: Tensor) -> Moments:
        """Statistics before the first rows."""
        return Moments.none(rows.shape[1], rows.device)

    def _rows(self, batch: Batch) -> list[Rows]:
        """Rows of each matrix, in float32 or wider."""
        loss, found = gradients(self._model, self.matrices, batch)
        self._diagnostics["loss"] = float(loss)
        texts, steps = self._counted(batch).nonzero(as_tuple=True)
        wide = torch.promote_types(self.matrices[0].weight.dtype, torch.float32)
        found_at = [(each, (texts.to(each.inputs.device), steps.to(each.inputs.device))) for each in found]
        return [(each.inputs[where].to(wide), each.deltas[where].to(wide)) for each, where in found_at]

    def _counted(self, batch: Batch) -> Tensor:
        """Which tokens give rows, [B, T - 1]: those before a token of the answer, or before any."""
        followed = {"ans": batch.labels[:, 1:] != IGNORED, "mask": batch.mask[:, 1:].bool()}
        return followed[self.hyperparameters.token]

    def _update(self, keys: Tensor, slopes: Tensor, moments: Moments) -> Tensor:
        """ΔW [out, in] of rows' keys [n, in] and gradients [n, out]."""
        normalized = moments.normalize(torch.cat([keys, slopes], 1))
        inward, outward = normalized.split([keys.shape[1], slopes.shape[1]], 1)
        wanted = -self.hyperparameters.lr * (inward**2).sum(1, keepdim=True) * outward  # V [n, out]
        solved = projected_keys(keys.T, keys.T[:, :0], None, 1.0)  # (KᵀK + I)⁻¹Kᵀ [in, n]
        update: Tensor = wanted.T @ solved.T
        return update

    def _memory(self) -> dict[str, Tensor]:
        return {f"{part}:{shape}": getattr(of, part).clone() for shape, of in self._moments.items() for part in PARTS}

    def _check_memory(self, memory: Mapping[str, Tensor]) -> None:
        if not memory:
            return
        widths = {_shape(matrix): sum(matrix.weight.shape) for matrix in self.matrices}
        wanted = {f"{part}:{shape}": (1 if part == "count" else widths[shape],) for shape in widths for part in PARTS}
        if memory.keys() != wanted.keys():
            raise StateMismatch(f"the memory contains {', '.join(memory)}; it must contain {', '.join(wanted)}")
        for name, value in memory.items():
            dtype = torch.int64 if name.startswith("count") else torch.float64
            if value.shape != wanted[name] or value.dtype != dtype:
                raise StateMismatch(f"{name} is {tuple(value.shape)} {value.dtype}; it must be {wanted[name]} {dtype}")

    def _load_memory(self, memory: Mapping[str, Tensor]) -> None:
        device = self._model.device
        shapes = dict.fromkeys(name.partition(":")[2] for name in memory)
        self._moments = {
            shape: Moments(*(memory[f"{part}:{shape}"].detach().clone().to(device) for part in PARTS))
            for shape in shapes
        }


def _shape(matrix: Matrix) -> str:
    """Inputs and outputs of a matrix, by which statistics are shared."""
    outputs, inputs = matrix.stored(matrix.weight).shape
    return f"{inputs}x{outputs}"
