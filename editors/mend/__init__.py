"""MEND: Fast Model Editing at Scale (Mitchell et al., ICLR 2022, arXiv:2110.11309).

The gradient of an edit's loss by a weight matrix W is a sum over tokens of rank-one terms: the input x_t times the
gradient delta_t by the output. A small network g, trained beforehand on other edits, transforms each pair so
that the step generalizes to rephrases of the fact and preserves other facts. A learned step size alpha per
matrix scales it:

    W' = W - alpha sum_t delta~_t x~_t^T,     (x~_t, delta~_t) = g(x_t, delta_t)

The paper subtracts; the authors' code adds (`sign` = 1 reads networks trained that way). Edits accumulate: each
starts from the current weights. In the authors' code and in EditingEvaluation every edit starts from the unedited
weights, so that only the last one remains (`accumulate` = false).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from editors.core.edit import Edit
from editors.core.editor import Editor, Kind
from editors.core.errors import MissingTraining, NoEffect, StateMismatch
from editors.core.hyperparameters import InnerParams
from editors.core.resources import EditorResources
from editors.core.training import train
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.core.weights import same_bits
from editors.mend.dataset import MendDataset
from editors.mend.network import Hypernetwork, NetworkHyperparameters
from editors.mend.training import LossWeights, MetaLoss
from editors.models.architecture import Architecture
from editors.models.compat import Conv1D
from editors.models.gradients import Batch, gradients

OLD_PREFIX = "gtn."  # of the network's names in the authors' older archives


class MendHyperparameters(NetworkHyperparameters):
    """MEND's hyperparameters. Names are those of the authors' code where it has one."""

    inner_params: InnerParams | None = Field(
        None, description="matrices of the blocks to edit; none: all of the last three blocks' MLPs"
    )
    sign: Literal[-1, 1] = Field(-1, description="of the update: -1 as in the paper, 1 as in the authors' code")
    accumulate: bool = Field(default=True, description="edits add up; false: each starts from the unedited weights")
    lr: float = Field(1e-6, gt=0, description="Adam's rate for the network")
    lr_lr: float = Field(1e-4, ge=0, description="Adam's rate for the step sizes alpha")
    cedit: float = Field(0.1, ge=0, description="weight of the edit in the loss of training")
    cloc: float = Field(1.0, ge=0, description="weight of the neighbors' divergence in the loss of training")
    csize: float = Field(0.0, ge=0, description="weight of the updates' squared relative lengths in it; the paper's: 0")
    accumulate_bs: int = Field(10, ge=1, description="edits, each applied alone, that make one step of training")
    locality_bs: int = Field(1, ge=1, description="neighbors for each edit in a training step")
    grad_clip: float = Field(100.0, gt=0, description="greatest L2 norm of a step's gradient")
    max_iters: int = Field(100_000, ge=0, description="steps of training")
    cooldown: float = Field(0.0, ge=0, le=1, description="last part of training in which the rates fall to 0, linearly")


class Mend(Editor):
    """Model editor networks with gradient decomposition."""

    name: ClassVar[str] = "mend"
    kind: ClassVar[Kind] = "weights"
    needs_one_device: ClassVar[bool] = True
    takes_batches: ClassVar[bool] = True
    Hyperparameters: ClassVar[type[MendHyperparameters]] = MendHyperparameters
    hyperparameters: MendHyperparameters

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        hyperparameters: MendHyperparameters,
        resources: EditorResources | None = None,
    ) -> None:
        super().__init__(model, tokenizer, hyperparameters=hyperparameters, resources=resources)
        self.architecture = Architecture(model)
        located = [
            self.architecture.named("inner_params", name) for name in hyperparameters.inner_params or self._usual()
        ]
        self.matrices = [matrix for matrix, _ in located]
        self._lowest = min(layer for _, layer in located)
        self._network: Hypernetwork | None = None

    def _usual(self) -> list[str]:
        """The matrices of the last three blocks' MLPs, which the paper edits."""
        last = range(max(self.architecture.depth - 3, 0), self.architecture.depth)
        start = f"{self.architecture.family.blocks}.{{}}.{self.architecture.family.mlp}.{{}}.weight"
        return [
            start.format(layer, name)
            for layer in last
            for name, module in self.architecture.mlp(layer).named_modules()
            if isinstance(module, (nn.Linear, Conv1D))
        ]

    def _blank_network(self) -> Hypernetwork:
        stored = {matrix.parameter: matrix.stored(matrix.weight).shape for matrix in self.matrices}  # (out, in)
        shapes = {name: (inputs, outputs) for name, (outputs, inputs) in stored.items()}
        network = Hypernetwork(shapes, self.hyperparameters, self.seed)
        weight = self.matrices[0].weight
        return network.to(weight.device, torch.promote_types(weight.dtype, torch.float32))

    def _prepare(self) -> None:
        if self._network is None:
            self._network = self._trained()

    def _trained(self) -> Hypernetwork:
        if not self.resources.training:
            raise MissingTraining("mend trains its network first: pass training=[edits], or load_prepared(tensors)")
        network = self._blank_network()
        hparams = self.hyperparameters
        loss = MetaLoss(
            model=self._model,
            tokenizer=self.tokenizer,
            matrices=self.matrices,
            lowest=self._lowest,
            network=network,
            dataset=MendDataset.of(self.tokenizer, self.resources.training),
            loss_weights=LossWeights(hparams.cedit, hparams.cloc, hparams.csize, hparams.sign),
            group=hparams.accumulate_bs,
            neighbors=hparams.locality_bs,
            seed=self.seed,
        )
        with torch.inference_mode(mode=False):
            loss.observe()
            self._train(network, loss)
        return network.requires_grad_(requires_grad=False)

    def _train(self, network: Hypernetwork, loss: MetaLoss) -> None:
        hparams = self.hyperparameters
        rates = [network.edit_lrs]
        rest = [value for name, value in network.named_parameters() if name != "edit_lrs"]
        optimizer = torch.optim.Adam([{"params": rest, "lr": hparams.lr}, {"params": rates, "lr": hparams.lr_lr}])
        train(
            self.name,
            network,
            optimizer,
            loss,
            steps=hparams.max_iters,
            seed=self.seed,
            clip=hparams.grad_clip,
            scratch=self.resources.scratch,
            cooldown=hparams.cooldown,
        )

    def _prepared_tensors(self) -> dict[str, Tensor]:
        return {} if self._network is None else {k: v.clone() for k, v in self._network.state_dict().items()}

    def _load_prepared(self, tensors: Mapping[str, Tensor]) -> None:
        """Load a network, one of this class or one of the authors' (`mend.*` and `edit_lrs` of an archive's `model`).

        Raises:
            StateMismatch: Its names or shapes are not those that the hyperparameters ask for.
        """
        network = self._blank_network()
        renamed = {
            f"mend.{name.removeprefix(OLD_PREFIX)}" if name.startswith(OLD_PREFIX) else name: value
            for name, value in tensors.items()
        }
        try:
            network.load_state_dict(renamed)
        except RuntimeError as error:
            raise StateMismatch(f"mend: the network does not fit the hyperparameters: {error}") from None
        self._network = network.requires_grad_(requires_grad=False)

    def _edit(self, edits: Sequence[Edit]) -> None:
        """Apply all edits as one batch: one step on the mean loss of all their target tokens."""
        device = self.matrices[0].weight.device
        self._step(Batch.of(self.tokenizer, [(edit.text, edit.target_new) for edit in edits], device))

    def _step(self, batch: Batch) -> None:
        """Compute and write the update for a batch of texts."""
        if self.hyperparameters.accumulate:
            values = self._values(batch)
        else:
            with self._weights.pristine():
                values = self._values(batch)
        if all(same_bits(value, self._weights[name]) for name, value in values.items()):
            raise NoEffect("mend: the step changes no weight; are all step sizes 0, or is the target certain already?")
        for name, value in values.items():
            self._weights.write(name, value)

    def _values(self, batch: Batch) -> dict[str, Tensor]:
        """New values of the edited parameters, from the current weights."""
        assert self._network is not None
        loss, rows = gradients(self._model, self.matrices, batch)
        values: dict[str, Tensor] = {}
        with torch.no_grad():
            for matrix, factors in zip(self.matrices, self._network(rows), strict=True):
                update = self.hyperparameters.sign * factors.deltas.flatten(0, -2).T @ factors.inputs.flatten(0, -2)
                values[matrix.parameter] = matrix.added(update)
                self._diagnostics[f"update_norm.{matrix.path}"] = float(update.norm())
                self.record(f"delta.{matrix.parameter}", matrix.stored(update))
        self._diagnostics["loss"] = float(loss)
        return values
