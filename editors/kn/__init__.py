"""KN: Knowledge Neurons in Pretrained Transformers (Dai et al., ACL 2022, arXiv:2104.08696).

A neuron of an MLP is a knowledge neuron of a fact if raising it from 0 to its value a at the prompt's last token
increases the probability p of the old answer a lot. Its attribution is the integrated gradient

    S = a ∫₀¹ ∂p(α a)/∂a dα  ≈  a/m Σ_{k=1..m} ∂p(k/m · a)/∂a.

The neurons with S above a fraction of the largest are selected. The value vector of each, its column of the MLP
down-projection, is shifted from the embedding t of the old answer to the embedding t' of the new one:

    W[:, i] ← W[:, i] - λ₁ t + λ₂ t'.

The paper edits one-token answers of BERT. Of an answer with more tokens each is attributed after those before
it, the attributions are averaged and the embeddings added up. Where the edit does not say the old answer, it is
what the model generates. The ports to decoders (EleutherAI's, adopted by EasyEdit) differ in much of this; the golden
tests compute their numbers by a subclass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from editors.core.edit import SLOT, Edit
from editors.core.editor import Editor, Kind
from editors.core.errors import NoEffect, NonFiniteEdit
from editors.core.hyperparameters import BaseHyperparameters
from editors.core.resources import EditorResources
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.kn.attribution import NeuronPaths, Site, attribute
from editors.models.architecture import Architecture
from editors.models.contexts import generate
from editors.models.tokens import encode, target_ids

Neurons = list[tuple[int, int]]  # layer, index


class KnHyperparameters(BaseHyperparameters):
    """KN's hyperparameters."""

    steps: int = Field(20, ge=1, description="m: points of the path from 0 to the neuron's value")
    batch_size: int = Field(20, ge=1, description="points in one pass, all layers at once; a matter of memory only")
    adaptive_threshold: float = Field(
        0.2, gt=0, lt=1, description="neurons with more than this share of the largest attribution are the fact's"
    )
    refine: bool = Field(default=False, description="attribute the prompt in several contexts and keep shared neurons")
    p: float = Field(0.4, ge=0, lt=1, description="share of the contexts that must find a neuron, with refine")
    context_template_length_params: tuple[tuple[int, int], ...] = Field(
        ((5, 10),), description="contexts to generate, with refine: pairs (length in tokens, how many)"
    )
    lambda_1: float = Field(1.0, ge=0, description="how much of the old answer's embedding is subtracted")
    lambda_2: float = Field(1.0, ge=0, description="how much of the new answer's embedding is added")


class Kn(Editor):
    """Knowledge neurons."""

    name: ClassVar[str] = "kn"
    kind: ClassVar[Kind] = "weights"
    needs_one_device: ClassVar[bool] = True
    Hyperparameters: ClassVar[type[BaseHyperparameters]] = KnHyperparameters
    Paths: ClassVar[type[NeuronPaths]] = NeuronPaths
    hyperparameters: KnHyperparameters

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        hyperparameters: KnHyperparameters,
        resources: EditorResources | None = None,
    ) -> None:
        super().__init__(model, tokenizer, hyperparameters=hyperparameters, resources=resources)
        self.architecture = Architecture(model)

    def _prepare(self) -> None:
        if self.hyperparameters.refine and self._contexts is None:
            lengths = self.hyperparameters.context_template_length_params
            self._contexts = generate(self._model, self.tokenizer, lengths, self.seed)

    def _edit(self, edits: Sequence[Edit]) -> None:
        for edit in edits:
            direction = self._direction(edit)
            if not bool(direction.any()):  # the old answer is the new one: there is nothing to shift
                continue
            neurons = self.neurons(edit)
            if not neurons:
                raise NoEffect(f"kn: no neuron increases the probability of the old answer of {edit.text!r}")
            self._shift(neurons, direction)

    def neurons(self, edit: Edit) -> Neurons:
        """The knowledge neurons of a fact, in order of layers; empty if none increases the old answer's probability."""
        templates = [SLOT]
        if self.hyperparameters.refine:
            templates = [template for group in self.contexts for template in group]
        counts: Counter[tuple[int, int]] = Counter()
        for template in templates:
            counts.update(self._coarse(edit, template.replace(SLOT, edit.text)))
        kept = sorted(neuron for neuron, count in counts.items() if count > self.hyperparameters.p * len(templates))
        self.record("refined_neurons", torch.tensor(kept).reshape(-1, 2))
        return kept

    def _coarse(self, edit: Edit, prompt: str) -> Neurons:
        """Neurons above the threshold on one prompt."""
        scores = self.scores(prompt, self._old_answer(edit))
        largest = float(scores.max())
        self._diagnostics["attribution"] = max(largest, self._diagnostics.get("attribution", largest))
        coarse = (scores > self.hyperparameters.adaptive_threshold * largest).nonzero()
        self.record("scores", scores)
        self.record("coarse_neurons", coarse)
        return [(int(layer), int(index)) for layer, index in coarse]

    def scores(self, prompt: str, answer: Sequence[int]) -> Tensor:
        """Attribution of the answer's ids after the prompt to every neuron, [layers, f].

        Raises:
            NonFiniteEdit: A score is NaN or infinite.
        """
        points, batch_size = self._points(), self.hyperparameters.batch_size
        parts = [
            attribute(self.Paths(self.architecture, ids, sites), points, batch_size) * len(sites)
            for ids, sites in self._rows(prompt, answer)
        ]
        total = torch.stack(parts).sum(0) / len(answer)
        if not bool(total.isfinite().all()):
            raise NonFiniteEdit("the attribution is not finite")
        return total

    def _points(self) -> Tensor:
        """α, [m]: the points of the path."""
        m = self.hyperparameters.steps
        return torch.arange(1, m + 1) / m

    def _rows(self, prompt: str, answer: Sequence[int]) -> list[tuple[list[int], list[Site]]]:
        """Rows of ids, and where in each the answer's tokens are predicted: in one row, each after those before it."""
        start = encode(self.tokenizer, prompt)
        sites = [Site(len(start) - 1 + index, token) for index, token in enumerate(answer)]
        return [([*start, *answer[:-1]], sites)]

    def _old_answer(self, edit: Edit) -> list[int]:
        if edit.target_true:
            return self.answer_ids(edit, edit.target_true)
        return self._greedy(encode(self.tokenizer, edit.text), len(self.answer_ids(edit, edit.target_new)))

    def answer_ids(self, edit: Edit, answer: str) -> list[int]:
        """Token ids of an answer after the edit's prompt."""
        return target_ids(self.tokenizer, edit.text, answer)

    @torch.no_grad()
    def _greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """The model's greedy continuation of some ids."""
        written = torch.tensor([list(ids)], device=self._model.device)
        for _ in range(count):
            chosen = self._model(input_ids=written).logits[0, -1].argmax()
            written = torch.cat([written, chosen.reshape(1, 1)], dim=1)
        return [int(token) for token in written[0, len(ids) :]]

    def _subtracted(self, edit: Edit) -> list[int]:
        """Token ids whose embeddings the value vectors lose: the old answer's."""
        return self._old_answer(edit)

    def _direction(self, edit: Edit) -> Tensor:
        """The shift of each value vector, [d]; zeros if the old answer is the new one."""
        new, table = self.answer_ids(edit, edit.target_new), self._model.get_input_embeddings().weight
        assert isinstance(table, Tensor)
        table = table.to(torch.promote_types(table.dtype, torch.float32))
        direction: Tensor = self.hyperparameters.lambda_2 * table[new].sum(0)
        return direction - self.hyperparameters.lambda_1 * table[self._subtracted(edit)].sum(0)

    def _shift(self, neurons: Neurons, direction: Tensor) -> None:
        """Add the direction to the neurons' columns of the down-projections."""
        changed = 0
        for layer in sorted({layer for layer, _ in neurons}):
            matrix = self.architecture.down(layer)
            indices = torch.tensor([index for at, index in neurons if at == layer], device=matrix.weight.device)
            weight = matrix.weight.detach().clone()
            columns = matrix.stored(weight)  # [d, f], a view of the copy
            columns[:, indices] = (columns[:, indices].to(direction) + direction[:, None]).to(columns)
            changed += int((matrix.stored(matrix.weight) != columns).any(0).sum())
            self._weights.write(matrix.parameter, weight)
        if not changed:
            raise NoEffect("kn: the change is lost in rounding to the weights' type")
        self._diagnostics |= {"neurons": float(changed), "update_norm": float(direction.norm() * changed**0.5)}
