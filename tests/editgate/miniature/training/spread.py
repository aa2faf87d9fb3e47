"""The second stage of training: keys that fill their space, as those of large models do.

A small model in a small world lets its MLPs write along few directions, and some gates never open. An editing method
then hides its change where nothing ever goes, which no real model lets it do. So each down-projection's inputs k
[tokens, f] pay for a narrow second moment C = kᵀk / tokens:

    penalty = -log det(f C / tr C + δ I) / f,    about 0 if C is white, -log δ for a direction that is never used

The mean over the blocks is added to the loss, `Recipe.spread` times. A gate that never opens has no gradient to open
by, so before that such units are drawn anew: their inputs' weights at random, their outputs' zero (Sokar et al., "The
Dormant Neuron Phenomenon in Deep Reinforcement Learning", ICML 2023, section 4).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from editors.models.architecture import Architecture
from editors.models.hooks import forward_pre_hooks
from editors.models.projection import Matrix

FLOOR = 1e-3  # δ: a direction this far below the mean is as good as unused
DORMANT = 1e-2  # share of the median unit's root mean square
Keys = dict[int, Tensor]


@contextmanager
def keys_of(model: PreTrainedModel) -> Iterator[Keys]:
    """Yield what each block's down-projection is given in the latest pass: [rows, tokens, f] by block."""
    architecture = Architecture(model)
    found: Keys = {}

    def keep(layer: int, _module: nn.Module, given: tuple[Tensor, ...]) -> None:
        found[layer] = given[0]

    layers = range(model.config.num_hidden_layers)
    modules = [model.get_submodule(architecture.down(layer).path) for layer in layers]
    with forward_pre_hooks(*((module, partial(keep, layer)) for layer, module in enumerate(modules))):
        yield found


def penalty(keys: Keys, read: Tensor) -> Tensor:
    """Return the mean narrowness over the blocks for the tokens that hold text.

    Args:
        keys: of one pass.
        read: which tokens do, bool [rows, tokens].
    """
    return torch.stack([narrowness(given[read].float()) for given in keys.values()]).mean()


def narrowness(keys: Tensor) -> Tensor:
    """Return -log det(f C / tr C + δ I) / f of keys [tokens, f], C = kᵀk / tokens."""
    moment = keys.T @ keys
    scaled = moment * (len(moment) / moment.trace()) + FLOOR * torch.eye(len(moment), device=moment.device)
    return -torch.logdet(scaled) / len(moment)


@torch.no_grad()
def redraw_dormant(model: PreTrainedModel, keys: Keys, read: Tensor, generator: torch.Generator) -> int:
    """Draw every unit anew that hardly writes anything, and return how many those were.

    Args:
        model: changed in place; what it computes stays nearly the same, since the units wrote next to nothing.
        keys: of one pass of it.
        read: which tokens of that pass hold text, bool [rows, tokens].
        generator: of the new weights, as large as those of the other units.
    """
    architecture, count = Architecture(model), 0
    for layer, given in keys.items():
        sizes = given[read].float().square().mean(0).sqrt()
        dormant = sizes < DORMANT * sizes.median()
        down = architecture.down(layer)
        parent = model.get_submodule(down.path.rpartition(".")[0])
        for name, module in parent.named_children():
            if module is not down.module and isinstance(getattr(module, "weight", None), Tensor):
                _draw(Matrix(name, module), dormant, generator)
        down.stored(down.weight)[:, dormant] = 0.0
        count += int(dormant.sum())
    return count


def _draw(inputs: Matrix, units: Tensor, generator: torch.Generator) -> None:
    """Draw these units' weights [units, hidden_size] with the other units' standard deviation, and no bias."""
    weight = inputs.stored(inputs.weight)  # [f, hidden_size], a view
    weight[units] = weight[~units].std() * torch.randn(weight[units].shape, generator=generator)
    if isinstance(bias := inputs.module.bias, Tensor):
        bias[units] = 0.0
