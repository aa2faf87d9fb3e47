"""LoRA: Low-Rank Adaptation of Large Language Models (Hu et al., ICLR 2022, arXiv:2106.09685), as practitioners edit.

Some matrices get an update of low rank, which is trained on the new answer and then added to them (equation 3):

    W <- W + (lora_alpha / r) B A,     B [d_out, r] = 0 at first, A [r, d_in] random

    B, A = argmin  -(1/T) Σ_j log p(t_j | prompt, t_<j)      by Adam, until the loss is small

The adapters are peft's (`pip install 'editgate[peft]'`). Each edit, or batch of edits, trains new ones, and what they
learned stays in the weights, so that edits accumulate. The reference that others compare with (EasyEdit) goes on
training one adapter, with AdaLoRA; here it is plain LoRA, and the edits do not share one rank.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from editors.core.edit import Edit
from editors.core.editor import Editor, Kind
from editors.core.errors import HyperparameterError, NoEffect, NonFiniteEdit
from editors.core.hyperparameters import BaseHyperparameters
from editors.models.architecture import Architecture
from editors.models.compat import Conv1D
from editors.models.tokens import Row, encode, target_ids, target_row
from editors.models.trace import pad

LOSS_TOLERANCE = 1e-2  # no step is taken below this loss, as in FT-L


class LoraHyperparameters(BaseHyperparameters):
    """LoRA's hyperparameters, with peft's names."""

    r: int = Field(8, ge=1, description="rank of the update")
    lora_alpha: float = Field(32.0, gt=0, description="the update is multiplied by lora_alpha / r")
    target_modules: tuple[str, ...] | None = Field(
        None, description="ends of the matrices' names; none: peft's own choice for the architecture, mostly q and v"
    )
    num_steps: int = Field(30, ge=1, description="steps of Adam, at most")
    lr: float = Field(5e-3, gt=0, description="Adam's rate")


class Lora(Editor):
    """Fine-tuning by low-rank updates that are merged into the weights."""

    name: ClassVar[str] = "lora"
    kind: ClassVar[Kind] = "weights"
    needs_one_device: ClassVar[bool] = True
    takes_batches: ClassVar[bool] = True
    Hyperparameters: ClassVar[type[BaseHyperparameters]] = LoraHyperparameters
    hyperparameters: LoraHyperparameters

    def _edit(self, edits: Sequence[Edit]) -> None:
        with self._adapters(edits) as layers:
            losses = self._train(edits)
        norms = torch.stack([self._add(f"{name}.weight", layer) for name, layer in layers.items()])
        if len(losses) > 1 and not bool(norms.any()):
            raise NoEffect(f"lora: the update for {edits[0].text!r} -> {edits[0].target_new!r} is 0")
        self._diagnostics = {
            "loss": losses[-1],
            "steps": float(len(losses) - 1),
            "matrices": float(len(norms)),
            "update_norm": float(norms.norm()),
        }

    def _add(self, name: str, layer: Any) -> Tensor:  # noqa: ANN401 - peft's, which is optional
        """Add an adapter to its matrix, one at a time because an update is as large as its matrix; give its norm."""
        weight, update = self._weights[name].detach(), layer.get_delta_weight("default").detach().float()
        self._weights.write(name, (weight.float() + update).to(weight.dtype))
        norm: Tensor = update.norm()
        return norm

    @contextmanager
    def _adapters(self, edits: Sequence[Edit]) -> Iterator[dict[str, Any]]:
        """In the block the model has adapters, by the path of their matrix; afterwards it has its own modules again.

        Raises:
            HyperparameterError: `target_modules` name nothing, or peft has no choice for this architecture.
        """
        from peft import LoraConfig, LoraModel  # noqa: PLC0415 - optional, and seconds to import
        from peft.tuners.lora import LoraLayer  # noqa: PLC0415 - see above

        hparams = self.hyperparameters
        transposed = any(isinstance(module, Conv1D) for module in Architecture(self._model).blocks[0].modules())
        config = LoraConfig(
            r=hparams.r,
            lora_alpha=hparams.lora_alpha,
            target_modules=list(hparams.target_modules) if hparams.target_modules else None,
            fan_in_fan_out=transposed,
            task_type="CAUSAL_LM",
        )
        drawn = "\n".join(f"{edit.text} {edit.target_new}" for edit in edits)
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between peft and transformers, and none of ours
            torch.manual_seed(random.Random(f"{self.seed}:{drawn}").getrandbits(63))
            try:
                adapted = LoraModel(self._model, config, "default")
            except ValueError as error:
                raise HyperparameterError(f"target_modules is {hparams.target_modules}: {error}") from None
        try:
            adapted.train(mode=False)
            yield {name: layer for name, layer in self._model.named_modules() if isinstance(layer, LoraLayer)}
        finally:
            adapted.unload()
            vars(self._model).pop("peft_config", None)
            self._model.requires_grad_(requires_grad=False)

    def _train(self, edits: Sequence[Edit]) -> list[float]:
        """The loss before each step, and after the last.

        Raises:
            NonFiniteEdit: A loss is not finite.
        """
        rows = [self._row(edit) for edit in edits]
        parameters = [value for value in self._model.parameters() if value.requires_grad]
        adam = torch.optim.Adam(parameters, lr=self.hyperparameters.lr)
        losses: list[float] = []
        while True:
            loss = self._loss(rows)
            losses.append(float(loss.detach()))
            if not bool(loss.isfinite()):
                raise NonFiniteEdit("the loss is not finite")
            if losses[-1] < LOSS_TOLERANCE or len(losses) > self.hyperparameters.num_steps:
                return losses
            adam.zero_grad()
            loss.backward()
            adam.step()

    def _row(self, edit: Edit) -> tuple[Row, list[int]]:
        """An edit's row with its labels, and the target ids."""
        target = target_ids(self.tokenizer, edit.text, edit.target_new)
        return target_row(Row(tuple(encode(self.tokenizer, edit.text)), 0), target), target

    def _loss(self, rows: Sequence[tuple[Row, list[int]]]) -> Tensor:
        """Mean over the edits of the mean negative log-likelihood of their answers' tokens."""
        ids, mask = pad([row for row, _ in rows], self._model.device)
        logits = self._model(input_ids=ids, attention_mask=mask).logits.float().log_softmax(-1)
        losses = [
            -logits[index, list(row.labels)].gather(1, ids.new_tensor(target)[:, None]).mean()
            for index, (row, target) in enumerate(rows)
        ]
        return torch.stack(losses).mean()
