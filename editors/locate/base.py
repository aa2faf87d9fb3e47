"""Base class of ROME, R-ROME, MEMIT, AlphaEdit and PMET: tokenize, trace, optimize the value, factor the covariance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from editors.core.edit import Edit
from editors.core.editor import Editor, Kind
from editors.core.errors import MissingCorpus
from editors.core.hyperparameters import LocateHyperparameters
from editors.core.resources import EditorResources
from editors.core.tensors import Tensors
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.locate.closed_form import CholeskyFactor
from editors.locate.value_search import SearchResult, search_value
from editors.models.architecture import Architecture
from editors.models.cached_window import WriterWindow, open_window
from editors.models.contexts import Contexts, generate
from editors.models.covariance import check, compute_covariances, cost
from editors.models.projection import Matrix
from editors.models.tokens import essence_row, prompt_row, target_ids, target_row
from editors.models.trace import Trace

SHARE = 20  # factors that are kept take at most one part in so many of the weights' memory
SMALL = 1 << 26  # or so many bytes


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
    """Base of the methods that optimize a value for the fact token and write it into MLP down-projections."""

    kind: ClassVar[Kind] = "weights"
    needs_subject: ClassVar[bool] = True
    spreads: ClassVar[bool] = False  # whether one value is shared out over all layers, and not searched for each
    Hyperparameters: ClassVar[type[LocateHyperparameters]]
    hyperparameters: LocateHyperparameters

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        hyperparameters: LocateHyperparameters,
        resources: EditorResources | None = None,
    ) -> None:
        super().__init__(model, tokenizer, hyperparameters=hyperparameters, resources=resources)
        self.architecture = Architecture(model)
        self.architecture.check_layers("layers", hyperparameters.layers)
        if self.spreads:
            self.architecture.check_spread(self.name, hyperparameters.layers)
        if hyperparameters.v_loss_layer is not None:
            self.architecture.check_layers("v_loss_layer", (hyperparameters.v_loss_layer,))
        self._factors: dict[str, CholeskyFactor] = {}
        factors = sum(8 * matrix.stored(matrix.weight).shape[1] ** 2 for matrix in self.matrices)
        self._keeps_factors = factors <= max(SMALL, self.architecture.size // SHARE)

    @property
    def matrices(self) -> list[Matrix]:
        """The matrices that this editor writes, in order of layers."""
        return [self.architecture.down(layer) for layer in self.hyperparameters.layers]

    def _needs_covariance(self) -> bool:
        return True

    def _patience(self) -> int | None:
        """How many losses with every target the likeliest token end a search; none: no number does."""
        return None

    def _prepare(self) -> None:
        if self._contexts is None:
            lengths = self.hyperparameters.context_template_length_params
            self._contexts = generate(self._model, self.tokenizer, lengths, self.seed)
        if missing := self.missing:
            self._covariances.add(self._compute(missing))
        if self._needs_covariance():
            for matrix in self.matrices:
                self.covariance(matrix)
        self._factors.clear()

    @property
    def missing(self) -> list[Matrix]:
        """Matrices whose covariance is needed but missing; `prepare` computes them from the corpus."""
        if not self._needs_covariance():
            return []
        return [matrix for matrix in self.matrices if matrix.path not in self._covariances]

    def cost(self) -> str:
        """Describe the memory and time that computing the missing covariances will take."""
        if not self.missing or self.resources.corpus is None:
            return ""
        return str(cost(self.architecture, self.tokenizer, self.resources.corpus, self.missing))

    def _compute(self, matrices: Sequence[Matrix]) -> dict[str, Tensor]:
        if self.resources.corpus is None:
            paths = ", ".join(matrix.path for matrix in matrices)
            raise MissingCorpus(
                f"{self.name} needs the covariance of the inputs of {paths}: "
                "pass covariances={path: matrix} or corpus=[texts]"
            )
        return compute_covariances(self.architecture, self.tokenizer, self.resources.corpus, matrices)

    def factor(self, matrix: Matrix) -> CholeskyFactor:
        """Cholesky factor of the covariance of a matrix's inputs; computed again where keeping all takes too much."""
        if matrix.path in self._factors:
            return self._factors[matrix.path]
        made = CholeskyFactor.of(self._preserved(matrix).to(matrix.weight.device))
        if self._keeps_factors:
            self._factors[matrix.path] = made
        return made

    def _preserved(self, matrix: Matrix) -> Tensor:
        """What is factored, [f, f]: the covariance of the matrix's inputs."""
        return self.covariance(matrix)

    def covariance(self, matrix: Matrix) -> Tensor:
        """C [f, f] of a matrix's inputs, from where it is kept.

        Raises:
            StateMismatch: It does not fit the matrix.
        """
        return check(matrix, self._covariances[matrix.path])

    def release(self) -> None:
        """See `Editor.release`: factors go, and covariances but for those that came with the resources."""
        self._factors.clear()
        self._covariances = Tensors(self.resources.covariances)
        self._prepared = False  # what is missing by the next edit is computed, unless it is loaded before

    def by_matrix(self, memory: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
        """Copies of a memory's tensors, by the path of their matrix, on the device that computes with it."""
        named = {matrix.path: memory.get(prefix + matrix.path) for matrix in self.matrices}
        devices = {matrix.path: matrix.weight.device for matrix in self.matrices}
        return {path: kept.detach().clone().to(devices[path]) for path, kept in named.items() if kept is not None}

    def target(self, edit: Edit) -> list[int]:
        """Ids of the new answer, as it continues the prompt."""
        return target_ids(self.tokenizer, edit.text, edit.target_new)

    def locate(
        self, edit: Edit, contexts: Contexts, recorded: Sequence[int], matrices: Sequence[Matrix] = ()
    ) -> Located:
        """Run an edit's rows through the current model, recording keys and outputs of some layers and matrices."""
        which = self.hyperparameters.fact_token
        templates = [template for group in contexts for template in group]
        prompts = [prompt_row(self.tokenizer, edit, template, which) for template in templates]
        target = self.target(edit)
        rows = [target_row(row, target) for row in prompts]
        rows.append(essence_row(self.tokenizer, edit.about, which))
        trace = Trace(self.architecture, rows, recorded, matrices)
        return Located(trace, torch.tensor([target] * len(prompts), device=trace.ids.device))

    def optimize_value(self, located: Located, site: int, start: Tensor, *, lens: bool) -> SearchResult:
        """Optimize v* at block `site`, starting from the bare prompt's own output `start` [d].

        Args:
            located: The edit's trace.
            site: Block to whose output the optimized vector is added; to its down-projection's, where that is not
                what arrives in the hidden states.
            start: v0.
            lens: Read the targets after `v_loss_layer` if that is not the last block.
        """
        last = self.architecture.depth - 1
        wanted = self.hyperparameters.v_loss_layer if lens else None
        opened = open_window if self.architecture.family.adds_mlp_output_directly else WriterWindow
        window = opened(located.trace, site, last if wanted is None else max(wanted, site))
        result = search_value(
            window, located.targets, start, self.hyperparameters, self.record, patience=self._patience()
        )
        self._diagnostics |= {
            "loss": result.loss,
            "steps": float(result.steps),
            "value_change": result.change,
            "clamped": float(result.clamped),
        }
        return result
