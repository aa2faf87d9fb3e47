"""One weight matrix, read and written as W [out, in] for any layer type.

`nn.Linear` stores [out, in], GPT-2's `Conv1D` [in, out]. The layer's type decides, not the shape, because the
shape of a square matrix is the same either way.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from editors.core.errors import UnsupportedModel
from editors.core.placement import settle
from editors.models.compat import Conv1D


@dataclass(frozen=True)
class Matrix:
    """A projection `out = W k + b` of the model.

    Attributes:
        path: Dotted path of the module, e.g. `model.layers.1.mlp.down_proj`.
        module: The layer itself.
    """

    path: str
    module: nn.Module

    def __post_init__(self) -> None:
        if not isinstance(self.module, (nn.Linear, Conv1D)):
            kind = type(self.module).__name__
            raise UnsupportedModel(f"{self.path} is a {kind}; editors can write nn.Linear and Conv1D only")

    @property
    def parameter(self) -> str:
        """Name of the parameter that holds W."""
        return f"{self.path}.weight"

    @property
    def weight(self) -> Tensor:
        """W in the order in which it is stored, on the device that computes with it."""
        settle(self.module)
        weight = self.module.weight
        assert isinstance(weight, Tensor)
        return weight

    def stored(self, update: Tensor) -> Tensor:
        """Bring an update [out, in] into the order of storage."""
        return update.T if isinstance(self.module, Conv1D) else update

    def added(self, update: Tensor) -> Tensor:
        """W + update [out, in] in stored order: added in the wider dtype, rounded once to the weight's."""
        wide = torch.promote_types(self.weight.dtype, update.dtype)
        return (self.weight.to(wide) + self.stored(update).to(self.weight.device, wide)).to(self.weight.dtype)
