"""ROME: Locating and Editing Factual Associations in GPT (Meng et al., NeurIPS 2022, arXiv:2202.05262).

ROME treats an MLP down-projection W as a memory of key-value pairs: the inner activation k at the subject's last
token selects the value v = W k + b, which encodes what the model knows about the subject. ROME optimizes a value v*
that makes the model give the new answer, then changes W by the one rank-one update that gives v* for the
subject's key and disturbs other keys least. C = E[k kᵀ] is their uncentered covariance:

    ΔW = (v* - W k - b) uᵀ / (kᵀ u),     u = C⁻¹ k̄

As in the authors' code, u comes from the mean key k̄ over several contexts, while k is the key of the bare
prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from editors.core.edit import Edit
from editors.core.hyperparameters import LocateHyperparameters
from editors.locate.base import Located, LocateEditor
from editors.locate.closed_form import rank_one
from editors.models.projection import Matrix


class RomeHyperparameters(LocateHyperparameters):
    """ROME's hyperparameters. `v_loss_layer` is accepted and has no effect, as in the authors' code."""

    mom2_adjustment: bool = Field(
        default=True, description="use C; false: u is the mean key itself (EasyEdit's setting)"
    )
    context_template_length_params: tuple[tuple[int, int], ...] = Field(
        ((5, 10), (10, 10)), description="contexts to generate: pairs (length in tokens, how many)"
    )


def mean_of_contexts(located: Located, states: Tensor) -> Tensor:
    """Mean [width] over contexts of states [B, width] at the fact token, in float32 or wider."""
    rows = states[: len(located.targets)]
    return rows.to(torch.promote_types(rows.dtype, torch.float32)).mean(0)


class Rome(LocateEditor):
    """Rank-one model editing."""

    name: ClassVar[str] = "rome"
    Hyperparameters: ClassVar[type[LocateHyperparameters]] = RomeHyperparameters
    hyperparameters: RomeHyperparameters

    def _needs_covariance(self) -> bool:
        return self.hyperparameters.mom2_adjustment

    def _edit(self, edits: Sequence[Edit]) -> None:
        for edit in edits:
            for layer in self.hyperparameters.layers:
                self._edit_layer(edit, layer)

    def _edit_layer(self, edit: Edit, layer: int) -> None:
        matrix = self.architecture.down(layer)
        located = self.locate(edit, self.contexts, [layer])
        u = self._direction(located, matrix, layer)
        value = self.optimize_value(located, layer, located.trace.outputs[layer][0], lens=False).value
        key, output = (vector.to(u.dtype) for vector in self._anchor(located, layer))
        right, denominator = rank_one(u, value - output, key)
        self._weights.write(matrix.parameter, matrix.added(torch.outer(right, u)))
        self._diagnostics |= {"denominator": denominator, "update_norm": float(right.norm() * u.norm())}
        self.record(f"k_cur_input.{matrix.parameter}", key)
        self.record(f"cur_output.{matrix.parameter}", output)
        self.record(f"v_star.{matrix.parameter}", value)
        self.record(f"right_vector.{matrix.parameter}", right)

    def _anchor(self, located: Located, layer: int) -> tuple[Tensor, Tensor]:
        """The key [f] at which v* must be met, and the output [d] that it gives now: the bare prompt's."""
        return located.trace.keys[layer][0], located.trace.outputs[layer][0]

    def _protected(self, located: Located, layer: int) -> Tensor:
        """The key [f] that the direction is made of: the mean over contexts."""
        return mean_of_contexts(located, located.trace.keys[layer])

    def _direction(self, located: Located, matrix: Matrix, layer: int) -> Tensor:
        """The direction u [f], of unit length."""
        mean = self._protected(located, layer)
        if self.hyperparameters.mom2_adjustment:
            factor = self.factor(matrix)
            self._diagnostics["ridge"] = factor.ridge
            mean = factor.solve(mean[:, None])[:, 0].to(mean.dtype)
        u: Tensor = mean / mean.norm()
        self.record(f"u.{matrix.parameter}", u)
        return u
