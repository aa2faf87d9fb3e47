"""What ROME, MEMIT and their descendants share: an edit's rows, the traced pass, the search, factors of C."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from editors.parts.anatomy import Anatomy
from editors.parts.base import Editor, Kind
from editors.parts.contexts import Contexts, generate
from editors.parts.covariance import check, cost, moments
from editors.parts.edit import Edit
from editors.parts.errors import MissingCorpus
from editors.parts.hyperparameters import LocateHyperparameters
from editors.parts.linear import Matrix
from editors.parts.passes import Trace
from editors.parts.search import Found, search
from editors.parts.solve import Factor
from editors.parts.supplies import Supplies
from editors.parts.tokens import essence_row, prompt_row, target_ids, target_row
from editors.parts.types import PreTrainedModel, PreTrainedTokenizerBase
from editors.parts.window import open_window


@dataclass(frozen=True)
class Located:
    """One edit traced through the model as it is now.

    Attributes:
        trace: Rows 0 .. N - 1 are the prompt in N contexts (0 is bare) with the target, row N is the essence.
        targets: Target ids of each row, [N, T].
    """

    trace: Trace
    targets: Tensor


class LocateEditor(Editor):
    """Base of the methods that find a value for the fact token and write it into MLP down-projections."""

    kind: ClassVar[Kind] = "weights"
    Hyperparameters: ClassVar[type[LocateHyperparameters]]
    hyperparameters: LocateHyperparameters

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        hyperparameters: LocateHyperparameters,
        supplies: Supplies | None = None,
    ) -> None:
        super().__init__(model, tokenizer, hyperparameters=hyperparameters, supplies=supplies)
        self.anatomy = Anatomy(model)
        self.anatomy.check_layers("layers", hyperparameters.layers)
        if hyperparameters.v_loss_layer is not None:
            self.anatomy.check_layers("v_loss_layer", (hyperparameters.v_loss_layer,))
        self._factors: dict[str, Factor] = {}

    @property
    def matrices(self) -> list[Matrix]:
        """The matrices that this editor writes, in order of layers."""
        return [self.anatomy.down(layer) for layer in self.hyperparameters.layers]

    def _needs_covariance(self) -> bool:
        return True

    def _prepare(self) -> None:
        if self._contexts is None:
            lengths = self.hyperparameters.context_template_length_params
            self._contexts = generate(self._model, self.tokenizer, lengths, self.seed)
        if missing := self.missing:
            self._covariances.update(self._compute(missing))
        if self._needs_covariance():
            for matrix in self.matrices:
                check(matrix, self._covariances[matrix.path])
        self._factors.clear()

    @property
    def missing(self) -> list[Matrix]:
        """The matrices whose second moments are needed and not there yet: `prepare` computes them from the corpus."""
        if not self._needs_covariance():
            return []
        return [matrix for matrix in self.matrices if matrix.path not in self._covariances]

    def cost(self) -> str:
        """What the covariances will take that `prepare` is going to compute."""
        if not self.missing or self.supplies.corpus is None:
            return ""
        return str(cost(self.anatomy, self.tokenizer, self.supplies.corpus, self.missing))

    def _compute(self, matrices: Sequence[Matrix]) -> dict[str, Tensor]:
        if self.supplies.corpus is None:
            paths = ", ".join(matrix.path for matrix in matrices)
            raise MissingCorpus(
                f"{self.name} needs the second moment of the inputs of {paths}: "
                "pass covariances={path: matrix} or corpus=[texts]"
            )
        return moments(self.anatomy, self.tokenizer, self.supplies.corpus, matrices)

    def factor(self, matrix: Matrix) -> Factor:
        """The factored second moment of a matrix's input, made once."""
        if matrix.path not in self._factors:
            moment = self._covariances[matrix.path].to(matrix.weight.device)
            self._factors[matrix.path] = Factor.of(moment)
        return self._factors[matrix.path]

    def target(self, edit: Edit) -> list[int]:
        """Ids of the new answer, as it continues the prompt."""
        return target_ids(self.tokenizer, edit.text, edit.target_new)

    def locate(self, edit: Edit, contexts: Contexts, probed: Sequence[int], matrices: Sequence[Matrix] = ()) -> Located:
        """Trace an edit's rows through the model as it is, reading keys and outputs at what is probed."""
        which = self.hyperparameters.fact_token
        templates = [template for group in contexts for template in group]
        prompts = [prompt_row(self.tokenizer, edit, template, which) for template in templates]
        target = self.target(edit)
        rows = [target_row(row, target) for row in prompts]
        rows.append(essence_row(self.tokenizer, edit.subject, which))
        trace = Trace(self.anatomy, rows, probed, matrices)
        return Located(trace, torch.tensor([target] * len(prompts), device=trace.ids.device))

    def find_value(self, located: Located, site: int, start: Tensor, *, lens: bool) -> Found:
        """Search v* at block `site` from the bare prompt's own output `start` [d].

        Args:
            located: The edit's trace.
            site: Block to whose output the searched vector is added.
            start: v0.
            lens: Read the targets after `v_loss_layer` if that is not the last block.
        """
        last = self.anatomy.depth - 1
        wanted = self.hyperparameters.v_loss_layer if lens else None
        window = open_window(located.trace, site, last if wanted is None else max(wanted, site))
        found = search(window, located.targets, start, self.hyperparameters, self.record)
        self._diagnostics |= {"loss": found.loss, "steps": float(found.steps)}
        return found
