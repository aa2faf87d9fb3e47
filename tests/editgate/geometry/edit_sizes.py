"""The size of single edits: beside their matrix, and beside what that matrix does on a corpus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from editgate.inference.tokenize import Tokenizer
from editgate.measure import edit_quality
from editors import Edit, Editor
from editors.core.weights import PREFIX
from editors.models.projection import Matrix


@dataclass(frozen=True)
class Inputs:
    """A matrix of the unedited model and what it is given on a corpus.

    Attributes:
        matrix: where it stands in the model.
        weight: W [d, f], float64.
        moment: C = E[k kᵀ] [f, f], the second moment of its inputs, float64.
        rare: eigenvectors [f, f // 2] of the lower half of C's spectrum, where the model's own inputs hardly go.
    """

    matrix: Matrix
    weight: Tensor
    moment: Tensor
    rare: Tensor

    @classmethod
    def of(cls, matrix: Matrix, moment: Tensor) -> Inputs:
        """Return them in float64, with the eigenvectors."""
        wide = moment.double()
        rare = torch.linalg.eigh(wide).eigenvectors[:, : len(wide) // 2]
        return cls(matrix, matrix.stored(matrix.weight.detach()).double(), wide, rare)

    def output(self, weight: Tensor) -> float:
        """Return the root mean square over the corpus of |M k|, for a matrix M [d, f]."""
        return float(((weight @ self.moment) * weight).sum().clamp(min=0).sqrt())


@dataclass(frozen=True)
class EditSize:
    """One edit's change ΔW of the matrices W that it wrote, each number a mean over them.

    Attributes:
        weight: |ΔW| / |W| (Frobenius). It depends on the units in which the inputs are written.
        output: root mean square over the corpus of |ΔW k| over that of |W k|: how far everything else moves. It does
            not depend on units.
        rare: share of ΔW's energy in the half of the input directions that the model uses least.
        value: |v* - v| / |v| of methods that search one, of the matrix (ROME) or of the hidden state (MEMIT), else
            None.
        clamped: whether that value ended on the clamp, else None.
        efficacy: 1 if what the edited model writes begins with the new answer, else 0.
        exact: 1 if it also stops there, else 0.
    """

    weight: float
    output: float
    rare: float
    value: float | None
    clamped: bool | None
    efficacy: float
    exact: float


def changes(editor: Editor) -> dict[str, Tensor]:
    """Return the parameters that differ from the base now, by name, as they are now."""
    return {name.removeprefix(PREFIX): tensor for name, tensor in editor.state().items() if name.startswith(PREFIX)}


def single_edits(
    editor: Editor, tokenizer: Tokenizer, edits: Sequence[Edit], inputs: Mapping[str, Inputs]
) -> Iterator[EditSize]:
    """Apply each edit alone to the unedited model and yield its size; an edit that wrote none of `inputs` has none.

    Args:
        editor: with nothing applied; it is left so.
        tokenizer: the model's.
        edits: each is undone before the next.
        inputs: of matrices that the method writes, by the parameter's name.
    """
    for edit in edits:
        editor.apply(edit)
        sizes = [_size(inputs[name], after) for name, after in changes(editor).items() if name in inputs]
        told = editor.diagnostics()
        (quality,) = edit_quality.measure(editor.model, tokenizer, [replace(edit, rephrases=(), neighbors=())])
        editor.undo()
        if sizes:
            weight, output, rare = (sum(column) / len(sizes) for column in zip(*sizes, strict=True))
            clamped = told.get("clamped")
            value = told.get("value_change")
            reached = None if clamped is None else bool(clamped)
            yield EditSize(weight, output, rare, value, reached, quality.efficacy or 0.0, quality.exact)


def _size(before: Inputs, after: Tensor) -> tuple[float, float, float]:
    change = before.matrix.stored(after).double() - before.weight  # storing turns it, and turns it back
    energy = change.square().sum()
    rare = (change @ before.rare).square().sum() / energy if energy > 0 else energy
    moved = before.output(change) / before.output(before.weight)
    return float(change.norm() / before.weight.norm()), moved, float(rare)
