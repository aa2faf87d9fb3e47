"""FT-L: constrained fine-tuning (Zhu et al. 2020, arXiv:2012.00363; as FT+L in Meng et al. 2022, arXiv:2202.05262).

Gradient steps on MLP down-projections W until the model gives the new answer, each entry kept near its old value:

    min over W of -log p_W(y* | x*)    subject to  |W - W_0|_inf <= epsilon

by Adam with a clamp after each step. W_0 is the weight before this edit, so it drifts over many edits. Here the loss is
the mean over the answer's tokens, each predicted after those before it (`target_new`; known as FT-M).

The authors' code for FT-L, and EasyEdit's default, score all of the answer's tokens at the prompt's last token
(`prompt_last`), so that a model that is certain of the first is still penalized for the others; the two agree for
answers of one token. That code picks parameters by a part of their name: where the name given leaves out "weight", the
bias is trained too (`bias`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import ClassVar, Literal

from pydantic import Field, field_validator
from torch import Tensor

from editors.core.edit import Edit
from editors.core.editor import Editor, Kind
from editors.core.errors import NoEffect
from editors.core.hyperparameters import BaseHyperparameters, Layers
from editors.core.resources import EditorResources
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.core.weights import same_bits
from editors.models.architecture import Architecture
from editors.models.fine_tuning import LabeledRows, descend
from editors.models.projection import Matrix
from editors.models.tokens import Row, prompt_row, target_ids, target_row


class FtlHyperparameters(BaseHyperparameters):
    """FT-L's hyperparameters, with the names of the authors' code but for `bias`."""

    layers: Layers = Field(min_length=1, description="blocks whose MLP down-projection is trained")
    num_steps: int = Field(25, ge=1, description="passes over the edits, with a step of Adam for each batch")
    lr: float = Field(5e-4, gt=0, description="Adam's rate")
    weight_decay: float = Field(0.0, ge=0, description="Adam's, added to the gradient")
    norm_constraint: float | None = Field(
        gt=0, description="farthest an entry may go from its old value; false or none: not constrained, plain FT"
    )
    batch_size: int = Field(1, ge=1, description="edits in one step, where several are applied at once")
    objective_optimization: Literal["target_new", "prompt_last"] = Field(
        "target_new", description="where the answer's tokens are read: each after those before, or all after the prompt"
    )
    bias: bool = Field(default=False, description="train the projections' biases too")

    @field_validator("norm_constraint", mode="before")
    @classmethod
    def _false_is_none(cls, limit: object) -> object:
        return None if limit is False else limit


class Ftl(Editor):
    """Constrained fine-tuning of some down-projections."""

    name: ClassVar[str] = "ftl"
    kind: ClassVar[Kind] = "weights"
    takes_batches: ClassVar[bool] = True
    Hyperparameters: ClassVar[type[BaseHyperparameters]] = FtlHyperparameters
    hyperparameters: FtlHyperparameters

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        hyperparameters: FtlHyperparameters,
        resources: EditorResources | None = None,
    ) -> None:
        super().__init__(model, tokenizer, hyperparameters=hyperparameters, resources=resources)
        self.architecture = Architecture(model)
        self.architecture.check_layers("layers", hyperparameters.layers)

    @property
    def matrices(self) -> list[Matrix]:
        """The down-projections that are trained."""
        return [self.architecture.down(layer) for layer in self.hyperparameters.layers]

    def _edit(self, edits: Sequence[Edit]) -> None:
        hparams = self.hyperparameters
        size, first = hparams.batch_size, min(hparams.layers)
        rows, targets = zip(*map(self._row, edits), strict=True)
        batches = [
            LabeledRows(self.architecture, first, rows[start : start + size], targets[start : start + size])
            for start in range(0, len(edits), size)
        ]
        before = {name: self._weights[name].detach().clone() for name in self._trained()}
        passes = repeat(batches, hparams.num_steps)
        found = descend(before, passes, lr=hparams.lr, weight_decay=hparams.weight_decay, project=self._clamped)
        self._diagnostics = found.diagnostics()
        for name, value in found.weights.items():
            self._weights.write(name, value.to(before[name].dtype))
        stepped = found.steps > 0  # no step is needed for an answer that the model already gives
        if stepped and all(same_bits(self._weights[name], value) for name, value in before.items()):
            raise NoEffect(
                f"ftl: the steps for {edits[0].text!r} -> {edits[0].target_new!r} are smaller than the weights' dtype "
                f"can hold; the loss is {found.loss:.2g}"
            )

    def _row(self, edit: Edit) -> tuple[Row, list[int]]:
        """An edit's row with its labels, and the target ids."""
        hparams = self.hyperparameters
        row = prompt_row(self.tokenizer, edit, "{}", "last")
        target = target_ids(self.tokenizer, edit.text, edit.target_new)
        if hparams.objective_optimization == "target_new":
            return target_row(row, target), target
        return Row(row.ids, row.lookup, (len(row.ids) - 1,)), target

    def _trained(self) -> list[str]:
        """Names of the trained parameters."""
        biased = [matrix for matrix in self.matrices if self.hyperparameters.bias and matrix.module.bias is not None]
        return [matrix.parameter for matrix in self.matrices] + [f"{matrix.path}.bias" for matrix in biased]

    def _clamped(self, weight: Tensor, start: Tensor) -> Tensor:
        """A weight, each entry as near to its start as asked."""
        limit = self.hyperparameters.norm_constraint
        return weight if limit is None else weight.clamp(start - limit, start + limit)
