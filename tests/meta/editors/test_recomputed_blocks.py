"""Gradients without what the blocks computed are those with it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from editors.models.architecture import Architecture
from editors.models.recomputed_blocks import recomputed_blocks
from editors.serac.counterfactual import Adapters
from meta.support import tiny_models as tiny

IDS = torch.tensor([[5, 9, 2, 7, 30, 11]])


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_gradients_are_the_same_bits(family: str) -> None:
    """Adapters get the gradients of an ordinary pass, from fewer kept numbers, and the blocks are as before."""
    model = tiny.model(family).requires_grad_(requires_grad=False)
    architecture, adapters = Architecture(model), Adapters(model, 2, torch.Generator().manual_seed(0))
    for second in adapters.second:
        second.data.normal_(0, 0.1)
    kept: list[int] = []

    def keep(value: Tensor) -> Tensor:
        kept[-1] += value.nbytes
        return value

    def gradients() -> list[Tensor]:
        kept.append(0)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            loss = model(input_ids=IDS, use_cache=False).logits.square().sum()
        return list(torch.autograd.grad(loss, [*adapters.parameters()]))

    with adapters.installed():
        ordinary = gradients()
        with recomputed_blocks(architecture):
            again = gradients()
    assert all(torch.equal(*pair) for pair in zip(ordinary, again, strict=True))
    assert kept[1] < kept[0] / 2
    assert not any("forward" in vars(block) for block in architecture.blocks)
