"""R-ROME: Rebuilding ROME (Gupta et al., 2024, arXiv:2403.07175).

ROME makes its direction u from the mean key k̄ over several contexts, yet divides by k·u with the key k of the
bare prompt. For some facts that product is nearly zero, the update becomes huge, and a single edit disables the
model. R-ROME uses one key everywhere: the mean k̄, with the mean output ō that it has now (`p-ROME`, by
`enable_prompt_keys`: the bare prompt's key k and output o):

    ΔW = (v* - ō) uᵀ / (k̄ᵀ u),     u = C⁻¹ k̄

The value v* is ROME's: what the search finds, from the bare prompt's output on.
"""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from editors.core.hyperparameters import LocateHyperparameters
from editors.locate.base import Located
from editors.rome import Rome, RomeHyperparameters, mean_of_contexts


class RromeHyperparameters(RomeHyperparameters):
    """ROME's hyperparameters and which key is used; names of the authors' code."""

    enable_random_prefix_keys: bool = Field(
        default=True, description="the mean key over contexts in the direction and in the division (r-ROME)"
    )
    enable_prompt_keys: bool = Field(
        default=False, description="the bare prompt's key in both places (p-ROME); switch the other off for it"
    )

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.enable_random_prefix_keys == self.enable_prompt_keys:
            raise ValueError("exactly one of enable_random_prefix_keys and enable_prompt_keys must be true")
        return self


class Rrome(Rome):
    """Rank-one model editing with one key everywhere."""

    name: ClassVar[str] = "rrome"
    Hyperparameters: ClassVar[type[LocateHyperparameters]] = RromeHyperparameters
    hyperparameters: RromeHyperparameters

    def _anchor(self, located: Located, layer: int) -> tuple[Tensor, Tensor]:
        if not self.hyperparameters.enable_random_prefix_keys:
            return super()._anchor(located, layer)
        trace = located.trace
        return mean_of_contexts(located, trace.keys[layer]), mean_of_contexts(located, trace.outputs[layer])

    def _protected(self, located: Located, layer: int) -> Tensor:
        if self.hyperparameters.enable_random_prefix_keys:
            return super()._protected(located, layer)
        key = located.trace.keys[layer][:1]  # the bare prompt alone
        return key.to(torch.promote_types(key.dtype, torch.float32))[0]
