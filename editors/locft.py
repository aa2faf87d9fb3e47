"""LocFT-BF: localized fine-tuning, breadth first (Yang et al., ICLR 2026, arXiv:2509.22072).

Plain fine-tuning of one MLP down-projection W, as any text is learned: by Adam in shuffled mini-batches, again and
again over all edits, on the answers and the end-of-sequence token behind them.

    min over W of  mean over edits of  -1/(T + 1) log p_W(y* <eos> | x*),     T the number of tokens of y*

The authors' point is the order. Other fine-tuning editors go depth first, each edit to convergence before the next,
and so each undoes those before it. Breadth first all edits are seen in each pass. So the gain is in a batch:
`apply_many` of n edits is one training on all of them, `batch_size` a step. Edits in sequence, one a call, are depth
first again: each training has one edit and forgets the others, and what is left of the method is the end of sequence
and the one matrix. Nothing is kept between calls but the weights. No entry is bound to its old value, as in FT-L.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from pydantic import Field

from editors.core.edit import Edit
from editors.core.editor import Editor, Kind
from editors.core.errors import NoEffect, UnsupportedModel
from editors.core.hyperparameters import BaseHyperparameters
from editors.core.resources import EditorResources
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.core.weights import same_bits
from editors.models.architecture import Architecture
from editors.models.fine_tuning import LabeledRows, descend
from editors.models.tokens import Row, encode, target_ids, target_row

LabeledRow = tuple[Row, list[int]]  # a row with its labels, and the target ids


class LocftHyperparameters(BaseHyperparameters):
    """LocFT-BF's hyperparameters, with the names of the authors' code."""

    layer: int = Field(ge=0, description="the block whose MLP down-projection is trained")
    num_steps: int = Field(25, ge=1, description="passes over the edits, with a step of Adam for each mini-batch")
    lr: float = Field(5e-4, gt=0, description="Adam's rate")
    weight_decay: float = Field(0.0, ge=0, description="Adam's, added to the gradient")
    batch_size: int = Field(100, ge=1, description="edits in one step, where several are applied at once")


class Locft(Editor):
    """Fine-tuning of one matrix on all edits at once."""

    name: ClassVar[str] = "locft"
    kind: ClassVar[Kind] = "weights"
    takes_batches: ClassVar[bool] = True
    Hyperparameters: ClassVar[type[BaseHyperparameters]] = LocftHyperparameters
    hyperparameters: LocftHyperparameters

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        hyperparameters: LocftHyperparameters,
        resources: EditorResources | None = None,
    ) -> None:
        super().__init__(model, tokenizer, hyperparameters=hyperparameters, resources=resources)
        self.architecture = Architecture(model)
        self.architecture.check_layers("layer", (hyperparameters.layer,))
        self.matrix = self.architecture.down(hyperparameters.layer)
        if tokenizer.eos_token_id is None:
            raise UnsupportedModel("locft trains an answer's end, and the tokenizer has no end-of-sequence token")

    def _edit(self, edits: Sequence[Edit]) -> None:
        hparams, name = self.hyperparameters, self.matrix.parameter
        before = self._weights[name].detach().clone()
        passes = self._passes([self._row(edit) for edit in edits])
        found = descend({name: before}, passes, lr=hparams.lr, weight_decay=hparams.weight_decay)
        self._diagnostics = found.diagnostics()
        self._weights.write(name, found.weights[name].to(before.dtype))
        if found.steps and same_bits(self._weights[name], before):  # without a step the answer was known before
            raise NoEffect(
                f"locft: the steps are smaller than the weights' dtype can hold; the loss is {found.loss:.2g}"
            )

    def _row(self, edit: Edit) -> LabeledRow:
        """An edit's prompt with its answer and the end of sequence to predict."""
        ids = tuple(encode(self.tokenizer, edit.text))
        target = [*target_ids(self.tokenizer, edit.text, edit.target_new), int(self.tokenizer.eos_token_id)]
        return target_row(Row(ids, len(ids) - 1), target), target

    def _passes(self, rows: Sequence[LabeledRow]) -> Iterator[Iterator[LabeledRows]]:
        """Passes over all edits, each in another order."""
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.hyperparameters.num_steps):
            yield self._batches(rows, torch.randperm(len(rows), generator=generator).tolist())

    def _batches(self, rows: Sequence[LabeledRow], order: Sequence[int]) -> Iterator[LabeledRows]:
        size = self.hyperparameters.batch_size
        for start in range(0, len(order), size):
            chosen = [rows[index] for index in order[start : start + size]]
            yield LabeledRows(self.architecture, self.hyperparameters.layer, *zip(*chosen, strict=True))
