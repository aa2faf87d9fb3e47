"""SimIE: Simulating Ideal Editor (Guo et al., ICML 2025), around a method that solves each edit by itself.

The inner method edits the *unedited* model, as if no edit had been before: W_0 becomes B_t for edit t. What it gives
for the tokens of its own prompt and answer, whose inputs are the columns of K_t, is what all edits together give:

    W_t = argmin_W  Σ_{i ≤ t} ‖(W - B_i) K_i‖²  +  λ ‖W - W_0‖²

It is solved edit by edit. With P_0 = λ I:

    P_t = P_{t-1} + K_t K_tᵀ,     W_t = W_{t-1} + (B_t - W_{t-1}) K_t K_tᵀ P_t⁻¹

A batch is one t: what the inner method makes of it at once, and the tokens of all its edits. With `init_model=false`
the inner method edits the model as it is, and K_t are its inputs there; EasyEdit ships true for all its models, with
λ = 10,000. The inner method keeps no memory of its own from edit to edit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor

from editors.core.edit import Edit
from editors.core.errors import StateMismatch
from editors.core.hyperparameters import LocateHyperparameters
from editors.core.resources import EditorResources
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.locate.base import LocateEditor
from editors.locate.closed_form import ROWS_IN_FLOAT64, factor_in_place, solve_factored
from editors.models.hooks import forward_pre_hooks
from editors.models.projection import Matrix
from editors.models.tokens import encode

GRAM = "gram:"


class IdealEditorHyperparameters(LocateHyperparameters):
    """What SimIE adds to a method's hyperparameters; names of the authors' code."""

    lamHyper: float = Field(gt=0, description="lambda: how much the unedited weights count against the edits' tokens")  # noqa: N815 - theirs
    init_model: bool = Field(
        default=True, description="each edit is solved on the unedited model, not on the edited one"
    )


class IdealEditor(LocateEditor):
    """Base of SimIE around a method; the method comes after it among the bases.

    The memory is `gram:<module path>`: Σ K Kᵀ [f, f] of each edited matrix.
    """

    hyperparameters: IdealEditorHyperparameters

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        hyperparameters: IdealEditorHyperparameters,
        resources: EditorResources | None = None,
    ) -> None:
        super().__init__(model, tokenizer, hyperparameters=hyperparameters, resources=resources)
        self._gram: dict[str, Tensor] = {}
        self._unedited: dict[str, Tensor] = {}  # W_0 by parameter

    def _prepare(self) -> None:
        super()._prepare()
        self._unedited = self._current()

    def _edit(self, edits: Sequence[Edit]) -> None:
        now = self._current()
        if self.hyperparameters.init_model:
            self._write(self._unedited)
        keys = self._inputs(edits)
        super()._edit(edits)  # type: ignore[safe-super]  # the inner method's
        alone = self._current()
        self._write(now)
        self._gram = {each.path: self._merge(each, alone[each.parameter], keys[each.path]) for each in self.matrices}

    def _current(self) -> dict[str, Tensor]:
        return {matrix.parameter: matrix.weight.detach().clone() for matrix in self.matrices}

    def _write(self, weights: Mapping[str, Tensor]) -> None:
        for name, value in weights.items():
            self._weights.write(name, value)

    @torch.no_grad()
    def _inputs(self, edits: Sequence[Edit]) -> dict[str, Tensor]:
        """K [f, n] of each matrix: its inputs at all tokens of the edits' prompts and answers, by its path."""
        seen: dict[str, list[Tensor]] = {matrix.path: [] for matrix in self.matrices}
        hooks = [
            (matrix.module, lambda _module, args, path=matrix.path: seen[path].append(args[0].flatten(0, -2)))
            for matrix in self.matrices
        ]
        with forward_pre_hooks(*hooks):
            for edit in edits:
                ids = encode(self.tokenizer, edit.text) + self.target(edit)
                self._model(input_ids=torch.tensor([ids], device=self._model.device))
        return {path: torch.cat(rows).T.double() for path, rows in seen.items()}

    def _merge(self, matrix: Matrix, alone: Tensor, keys: Tensor) -> Tensor:
        """Write W_t of one matrix from what the inner method made of it alone; Σ K Kᵀ with these keys."""
        solved, gram = self._solved(matrix, keys)
        update = matrix.stored(alone.double().sub_(matrix.weight)) @ keys @ solved.T
        self._weights.write(matrix.parameter, matrix.added(update))
        self._diagnostics[f"merged_norm.{matrix.path}"] = float(update.norm())
        return gram

    def _solved(self, matrix: Matrix, keys: Tensor) -> tuple[Tensor, Tensor]:
        """P⁻¹ K [f, n], and the Σ K Kᵀ that is in P."""
        total = keys @ keys.T
        if matrix.path in self._gram:
            parts = (each.split(ROWS_IN_FLOAT64) for each in (total, self._gram[matrix.path]))
            for rows, before in zip(*parts, strict=True):
                rows.add_(before)  # which is copied in float64
        gram = total.to(torch.promote_types(matrix.weight.dtype, torch.float32), copy=True)
        total.diagonal().add_(self.hyperparameters.lamHyper)  # P, whose place its factor takes
        return solve_factored(factor_in_place(total.T), keys), gram

    def _memory(self) -> dict[str, Tensor]:
        return {GRAM + path: gram.clone() for path, gram in self._gram.items()}

    def _check_memory(self, memory: Mapping[str, Tensor]) -> None:
        if not memory:
            return
        widths = {GRAM + matrix.path: matrix.stored(matrix.weight).shape[1] for matrix in self.matrices}
        if memory.keys() != widths.keys():
            raise StateMismatch(f"the memory contains {', '.join(memory)}; it must contain {', '.join(widths)}")
        for name, gram in memory.items():
            if gram.shape != (widths[name], widths[name]) or not gram.is_floating_point():
                raise StateMismatch(
                    f"{name} is {tuple(gram.shape)} {gram.dtype} in the state; it must be "
                    f"({widths[name]}, {widths[name]}), floating point"
                )

    def _load_memory(self, memory: Mapping[str, Tensor]) -> None:
        self._gram = self.by_matrix(memory, GRAM)
