"""PMET: Precise Model Editing in a Transformer (Li et al., AAAI 2024, arXiv:2308.08742).

Attention and MLP both add to the hidden state, but only the MLP is assumed to store facts. PMET jointly optimizes a
vector for each of them, at the outputs of the last edited block's two out-projections, so that the MLP's vector m need
not represent what attention adds. Then it updates the MLP only (or both, by `rewrite`), layer by layer as MEMIT does,
with the square root where MEMIT divides by the number of layers left:

    ΔW = R Kᵀ (λ C + K Kᵀ)⁻¹,     R = (m - W k) / √(layers left)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from editors.core.edit import Edit
from editors.core.hyperparameters import LocateHyperparameters
from editors.locate.base import Located, LocateEditor
from editors.locate.closed_form import ridge_keys
from editors.locate.layer_spread import mean_key
from editors.models.projection import Matrix
from editors.pmet.joint_search import JointWindow, optimize_jointly

Part = Literal["attention", "mlp"]
PARTS: tuple[Part, ...] = ("attention", "mlp")
SHORT = {"attention": "attn", "mlp": "mlp"}  # in the names of what is recorded


class PmetHyperparameters(LocateHyperparameters):
    """PMET's hyperparameters."""

    mom2_update_weight: float = Field(gt=0, description="lambda: how much other keys count against the new ones")
    nll_loss_factor: float = Field(1.0, gt=0, description="weight of the targets' NLL in the search's loss")
    rewrite: tuple[Part, ...] = Field(
        ("mlp",), min_length=1, description="what is written in each layer, in this order: attention, mlp, or both"
    )
    context_template_length_params: tuple[tuple[int, int], ...] = Field(
        ((10, 5),), description="contexts to generate: pairs (length in tokens, how many)"
    )

    @field_validator("rewrite")
    @classmethod
    def _parts_are_a_set(cls, rewrite: tuple[Part, ...]) -> tuple[Part, ...]:
        if len(set(rewrite)) != len(rewrite):
            raise ValueError("each part may be written once")
        return rewrite


class Pmet(LocateEditor):
    """Joint search for attention and MLP, then ridge regression, layer by layer."""

    name: ClassVar[str] = "pmet"
    spreads: ClassVar[bool] = True
    takes_batches: ClassVar[bool] = True
    Hyperparameters: ClassVar[type[LocateHyperparameters]] = PmetHyperparameters
    hyperparameters: PmetHyperparameters

    @property
    def matrices(self) -> list[Matrix]:
        """The matrices that this editor writes, in the order in which it does."""
        hparams = self.hyperparameters
        return [self._matrix(part, layer) for layer in hparams.layers for part in hparams.rewrite]

    def _matrix(self, part: Part, layer: int) -> Matrix:
        return self.architecture.down(layer) if part == "mlp" else self.architecture.attention_out(layer)

    @property
    def _sites(self) -> list[Matrix]:
        """Where the search adds its vectors: both out-projections of the last edited block."""
        return [self._matrix(part, self.hyperparameters.layers[-1]) for part in PARTS]

    def _edit(self, edits: Sequence[Edit]) -> None:
        hparams = self.hyperparameters
        located: list[Located] = []
        values: list[Tensor] = []
        for edit in edits:
            traced = self.locate(edit, self.contexts, (), list(dict.fromkeys([*self.matrices, *self._sites])))
            values.append(self._optimize(traced))
            traced.trace.drop_cache()
            located.append(traced)
        goals = dict(zip(PARTS, torch.stack(values, dim=1), strict=True))  # of each part, [n, d]
        for part, goal in goals.items():
            self.record(f"z_{SHORT[part]}", goal)
        for left, layer in zip(range(len(hparams.layers), 0, -1), hparams.layers, strict=True):
            for part in hparams.rewrite:
                self._edit_matrix(located, goals[part], part, layer, left)

    def _optimize(self, located: Located) -> Tensor:
        """The values of one edit, [parts, d]."""
        hparams, trace, site = self.hyperparameters, located.trace, self.hyperparameters.layers[-1]
        last = self.architecture.depth - 1
        early = last if hparams.v_loss_layer is None else max(hparams.v_loss_layer, site)
        window = JointWindow(trace, self._sites, site, early)
        starts = torch.stack([trace.results[matrix.path][0] for matrix in self._sites])

        def record(deltas: Tensor) -> None:
            for part, delta in zip(PARTS, deltas, strict=True):
                self.record(f"delta_{SHORT[part]}_after_adam", delta)

        result = optimize_jointly(window, located.targets, starts, hparams, record)
        self._diagnostics |= {"loss": result.loss, "steps": float(result.steps)}
        return result.values

    def _edit_matrix(self, located: Sequence[Located], goal: Tensor, part: Part, layer: int, left: int) -> None:
        """Write one matrix and bring the traces up to date."""
        matrix, last = self._matrix(part, layer), self.hyperparameters.layers[-1]
        site = self._matrix(part, last)
        keys = torch.stack(
            [mean_key(traced, traced.trace.inputs[matrix.path], self.contexts) for traced in located]
        )  # [n, f]
        present = torch.stack([traced.trace.results[site.path][0] for traced in located])  # [n, d]
        residual = (goal.double() - present.double()).T / left**0.5  # R [d, n]
        factor = self.factor(matrix)
        solved = ridge_keys(keys.T, factor, self.hyperparameters.mom2_update_weight)
        update = residual.to(solved.device) @ solved.T  # the values are where the last layer is
        self._weights.write(matrix.parameter, matrix.added(update))
        self._diagnostics |= {
            f"update_norm.{part}.{layer}": float(update.norm()),
            f"ridge.{part}.{layer}": factor.ridge,
        }
        self.record(f"ks.{matrix.parameter}", keys)
        self.record(f"cur_z.{matrix.parameter}", present)
        if matrix != self.matrices[-1]:
            for traced in located:
                traced.trace.advance(layer, last)
