"""A copy of a model that takes no memory for the weights: whoever writes one must give it memory of its own first."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

from editors.core import placement

AnyModel = TypeVar("AnyModel", bound=nn.Module)


def sharing(model: AnyModel) -> AnyModel:
    """Return a copy with modules, parameters and buffers of its own, whose parameters share the original's memory.

    `editors.core.weights.Weights` never writes into memory that it did not make itself. Tied parameters stay tied.
    Weights that accelerate keeps in main memory or on disk are in maps that nobody writes: the copy reads the same.
    """
    shared = {id(each): nn.Parameter(each.data, requires_grad=each.requires_grad) for each in model.parameters()}
    maps = {id(each): each for each in placement.maps(model)}
    copied: AnyModel = copy.deepcopy(model, {**shared, **maps})
    return copied
