"""WISE: Rethinking the Knowledge Memory for Lifelong Model Editing (Wang et al., NeurIPS 2024, arXiv:2405.14768).

The weights are not changed. A side memory W' begins as a copy of one MLP down-projection W, the *main memory*, and
takes the edits. A prompt is answered with W' if W' makes a difference to it (section 2.3, equations 3 and 4):

    MLP(x) = W' a(x) if Δ(x) > ε else W a(x),     Δ(x) = ‖φ(W' a(x)) - φ(W a(x))‖₂

a(x) is the matrix's input and φ the model's activation, as in the authors' code. ε is the least Δ that an edit was
trained to in any context, times `act_ratio`. The authors' code takes the mean over an edit's contexts, which may lie
above what the bare prompt reaches. An edit minimizes the answer's loss and a margin loss, equation 5 (`loss.py`), by
gradient descent on a random share M of W' (section 2.3, equation 7):

    W' <- W' - η (M ⊙ ∇L),     |W' - W| ≤ norm_constraint

M is drawn anew for every `save_freq` edits, which then are a *shard*. Each `merge_freq` edits shards are merged by TIES
(equation 8, `side_memory.py`). There are two forms: WISE-Merge has one side memory, into which shards are merged;
WISE-Retrieve (`retrieve=true`) keeps several, and takes the one that is activated most.

x_i, the prompt that must not change, is a prompt of the edits that methods may be trained on; the paper takes it from a
data set. The authors' code merges the unfinished shard when it is asked something, and so asking changes the memory;
here the merged matrix is computed beside it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from editors.core.edit import SLOT, Edit
from editors.core.editor import Editor, Kind
from editors.core.errors import MissingTraining, NonFiniteEdit, UnsupportedModel
from editors.core.hyperparameters import BaseHyperparameters
from editors.core.resources import EditorResources
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.memory.string_tensors import pack, unpack
from editors.models.architecture import Architecture
from editors.models.compat import activation_function
from editors.models.contexts import generate
from editors.models.shared_queries import PromptInputs
from editors.models.tokens import Row, encode, target_ids
from editors.wise.loss import EditLoss
from editors.wise.side_memory import SideMemory
from editors.wise.side_memory_model import SideMemoryModel

OTHERS = ("others", "others_lengths")  # prepared: prompts that must not change
CONVERGED = (1e-4, 0.02)  # training ends where the loss moves less than the first and is below the second


class WiseHyperparameters(BaseHyperparameters):
    """WISE's hyperparameters, with the names of the authors' code but for `layer`, which is its `inner_params`."""

    layer: int = Field(ge=0, description="block whose MLP down-projection gets a side memory")
    edit_lr: float = Field(1.0, gt=0, description="rate of the gradient descent")
    n_iter: int = Field(70, ge=1, description="steps an edit, at most")
    alpha: float = Field(5.0, ge=0, description="largest activation of a prompt that must not change")
    beta: float = Field(20.0, ge=0, description="least activation of an edited prompt")
    gamma: float = Field(10.0, ge=0, description="least distance between the two")
    act_ratio: float = Field(
        0.88, gt=0, description="a shard answers from this share of its edits' least activation on"
    )
    mask_ratio: float = Field(0.2, gt=0, le=1, description="share of the matrix that a shard may change")
    norm_constraint: float = Field(1.0, gt=0, description="farthest an entry may go from its old value")
    weight_decay: float = Field(1e-5, ge=0, description="share of W' that is added to its gradient, mask or not")
    save_freq: int = Field(500, ge=1, description="edits in a shard")
    merge_freq: int = Field(1000, ge=1, description="edits after which shards are merged; a multiple of save_freq")
    densities: float = Field(0.53, gt=0, le=1, description="share of each shard's change that TIES keeps")
    retrieve: bool = Field(default=False, description="keep several side memories (WISE-Retrieve) instead of one")
    context_template_length_params: tuple[tuple[int, int], ...] = Field(
        ((5, 5), (10, 5)), description="contexts to generate: pairs (length in tokens, how many)"
    )

    @model_validator(mode="after")
    def _whole_shards_are_merged(self) -> Self:
        if self.merge_freq % self.save_freq:
            raise ValueError(f"merge_freq {self.merge_freq} must be a multiple of save_freq {self.save_freq}")
        return self


class Wise(Editor):
    """A side memory for one matrix."""

    name: ClassVar[str] = "wise"
    kind: ClassVar[Kind] = "wrapper"
    Hyperparameters: ClassVar[type[BaseHyperparameters]] = WiseHyperparameters
    Loss: ClassVar[type[EditLoss]] = EditLoss
    hyperparameters: WiseHyperparameters

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        hyperparameters: WiseHyperparameters,
        resources: EditorResources | None = None,
    ) -> None:
        super().__init__(model, tokenizer, hyperparameters=hyperparameters, resources=resources)
        self.architecture = Architecture(model)
        self.architecture.check_layers("layer", (hyperparameters.layer,))
        self.architecture.check_batch_dimension("wise")
        self._matrix = self.architecture.down(hyperparameters.layer)
        activation = activation_function(model.config.get_text_config())
        if activation is None:
            raise UnsupportedModel(f"wise compares activations, and the config of {type(model).__name__} names none")
        self._activation = activation
        inputs = PromptInputs(self.architecture, self._matrix.module)
        self._side_memory_model = SideMemoryModel(model, self._matrix, inputs, activation)
        self._side_memory = SideMemory()
        self._others: list[str] = []

    @property
    def model(self) -> PreTrainedModel:
        """The base model with the side memory."""
        return self._side_memory_model  # type: ignore[return-value]  # it has the methods that evaluation uses

    @property
    def _base(self) -> Tensor:
        """W in stored order, in float32 or wider."""
        weight = self._matrix.weight.detach()
        return weight.to(torch.promote_types(weight.dtype, torch.float32))

    def _prepare(self) -> None:
        if not self._others:
            edits = self.resources.training or ()
            texts = [text for edit in edits for text in (edit.text, *(near for near, _ in edit.neighbors))]
            self._others = list(dict.fromkeys(texts))
        if not self._others:
            raise MissingTraining("wise learns what an edit must not change from other edits; give training=<edits>")
        if self._contexts is None:
            lengths = self.hyperparameters.context_template_length_params
            self._contexts = generate(self._model, self.tokenizer, lengths, self.seed)

    def _prepared_tensors(self) -> dict[str, Tensor]:
        return dict(zip(OTHERS, pack(self._others), strict=True))

    def _load_prepared(self, tensors: Mapping[str, Tensor]) -> None:
        self._others = unpack(*(tensors[name] for name in OTHERS))

    def _edit(self, edits: Sequence[Edit]) -> None:
        for edit in edits:
            self._edit_one(edit)

    def _edit_one(self, edit: Edit) -> None:
        base, memory = self._base, self._side_memory
        rows, target, other = self._rows(edit)
        loss = self.Loss(
            self.architecture,
            self._matrix,
            self.hyperparameters.layer,
            rows=rows,
            target=target,
            other=other,
            activation=self._activation,
        )
        start = base if memory.side is None else memory.side
        side, activation = self._minimize(loss, start, base, self._mask(memory.count // self.hyperparameters.save_freq))
        self._install(memory.edited(side, activation, base, self.hyperparameters))
        self._diagnostics |= {"threshold": self._side_memory.threshold if self._side_memory.side is not None else 0.0}
        self._diagnostics |= {"shards": float(len(self._side_memory_model.shards))}
        for name, tensor in {"new_weight": side, "activation": torch.tensor(activation)}.items():
            self.record(name, tensor)

    def _rows(self, edit: Edit) -> tuple[list[Row], list[int], Row]:
        """The edited prompt with its answer after each context, the answer, and a prompt that must not change."""
        target = target_ids(self.tokenizer, edit.text, edit.target_new)
        rows = []
        for template in (template for group in self._contexts or () for template in group):
            prompt = encode(self.tokenizer, template.replace(SLOT, edit.text))
            labels = tuple(range(len(prompt) - 1, len(prompt) - 1 + len(target)))
            rows.append(Row((*prompt, *target), 0, labels))
        others = [text for text in self._others if text != edit.text] or self._others
        other = random.Random(f"{self.seed}:{self._side_memory.count}").choice(others)
        return rows, target, Row(tuple(encode(self.tokenizer, other)), 0)

    def _mask(self, shard: int) -> Tensor:
        """Which entries of the matrix a shard may change, in stored order; the same for all its edits."""
        generator = torch.Generator().manual_seed(random.Random(f"{self.seed}:{shard}").getrandbits(63))
        drawn = torch.rand(self._base.shape, generator=generator) < self.hyperparameters.mask_ratio
        return drawn.to(self._base.device)

    def _minimize(self, loss: EditLoss, start: Tensor, base: Tensor, mask: Tensor) -> tuple[Tensor, float]:
        """W' after the steps, and the edit's activation before the last of them, as the authors take it.

        Raises:
            NonFiniteEdit: W' contains NaN or infinity.
        """
        hparams = self.hyperparameters
        side = start.clone().requires_grad_()
        optimizer = torch.optim.SGD([side], lr=hparams.edit_lr, weight_decay=hparams.weight_decay)
        losses: list[float] = []
        answers: list[float] = []
        for _ in range(hparams.n_iter):
            inside, outside = loss.activations(side)
            answer = loss.answer(side)
            total = answer + loss.margin(inside, outside, hparams)
            if len(losses) > 1 and abs(losses[-1] - losses[-2]) <= CONVERGED[0] and losses[-1] <= CONVERGED[1]:
                break
            (gradient,) = torch.autograd.grad(total, side)
            side.grad = gradient * mask
            optimizer.step()
            with torch.no_grad():
                side.clamp_(base - hparams.norm_constraint, base + hparams.norm_constraint)
            losses.append(float(total.detach()))
            answers.append(float(answer.detach()))
        found = side.detach()
        if not bool(found.isfinite().all()):
            raise NonFiniteEdit(f"the side memory of {self._matrix.path} is not finite")
        self.record("losses", torch.tensor(losses))
        self._diagnostics = {
            "loss": losses[-1],
            "answer_loss": answers[-1],
            "steps": float(len(losses)),
            "activation": self._activation_of(inside.detach()),
            "other_activation": float(outside.detach()),
            "update_norm": float((found - start).norm()),
        }
        return found, self._diagnostics["activation"]

    def _activation_of(self, inside: Tensor) -> float:
        """The activation of an edit from that of its rows [B]: the least."""
        return float(inside.min())

    def _install(self, memory: SideMemory) -> None:
        self._side_memory = memory
        shards = memory.answering(self._base, self.hyperparameters)
        ratio = self.hyperparameters.act_ratio
        self._side_memory_model.load([(weight, bound * ratio) for weight, bound in shards])

    def _memory(self) -> dict[str, Tensor]:
        return self._side_memory.state()

    def _check_memory(self, memory: Mapping[str, Tensor]) -> None:
        SideMemory.of(memory, self._base)

    def _load_memory(self, memory: Mapping[str, Tensor]) -> None:
        self._install(SideMemory.of(memory, self._base))
