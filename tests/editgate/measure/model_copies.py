"""A copy of a model that takes no memory for the weights: whoever writes one must give it memory of its own first."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

AnyModel = TypeVar("AnyModel", bound=nn.Module)


def sharing(model: AnyModel) -> AnyModel:
    """Return a copy with modules, parameters and buffers of its own, whose parameters share the original's memory.

    `editors.core.weights.Weights` never writes into memory that it did not make itself. Tied parameters stay tied.
    """
    shared = {id(each): nn.Parameter(each.data, requires_grad=each.requires_grad) for each in model.parameters()}
    copied: AnyModel = copy.deepcopy(model, dict(shared))
    return copied
