"""Integrated gradients of a target token's probability over every MLP neuron of a model, in one forward pass.

Changing a neuron at one token does not affect earlier tokens. So each point of each layer's path is one extra token: it
starts above the changed MLP and attends to the stored keys and values of the real tokens before it and to itself. All
of these tokens pass through the remaining blocks in one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from editors.core.errors import UnsupportedModel
from editors.models.architecture import Architecture, States, first_tensor
from editors.models.cached_window import FixedKVCache
from editors.models.compat import (
    ANY_MASK_ATTENTION,
    BLOCK_CACHE_ARGUMENTS,
    attention_implementation,
    keys_and_values,
    takes_any_mask,
)
from editors.models.hooks import forward_pre_hooks
from editors.models.tokens import Row
from editors.models.trace import Arguments, Trace

LOGITS = 1 << 24  # bytes of logits at a time


@dataclass(frozen=True)
class Site:
    """Where a probability is measured: the position in the row, and the token id."""

    position: int
    token: int


class NeuronPaths:
    """The trace of one row, from which the passes with changed neurons start.

    Args:
        architecture: The model's.
        ids: Token ids of the row.
        sites: Tokens at which neurons are changed and the probability of an id is read.

    Attributes:
        values: The neurons' values at the sites, [layers, sites, f], in float32 or wider.

    Raises:
        UnsupportedModel: The model's attention does not take a mask of its own for each token.
    """

    def __init__(self, architecture: Architecture, ids: Sequence[int], sites: Sequence[Site]) -> None:
        config = architecture.trunk.config
        if not takes_any_mask(config):
            raise UnsupportedModel(
                f"attn_implementation is {attention_implementation(config)!r}; attribution needs one of "
                f"{', '.join(ANY_MASK_ATTENTION)}"
            )
        architecture.check_mlp_is_added("KN")
        if not architecture.family.only_attends:
            raise UnsupportedModel("KN needs keys and values of every block, and some blocks here mix tokens otherwise")
        self._architecture = architecture
        inputs, self._trace = _traced(architecture, ids)
        device = self._trace.ids.device
        self._positions = torch.tensor([site.position for site in sites], device=device)
        self._tokens = torch.tensor([site.token for site in sites], device=device)
        self._inputs = [states[self._positions] for states in inputs]  # [sites, d] a layer
        with torch.no_grad():
            raw = [self.neurons(layer, x) for layer, x in enumerate(self._inputs)]
            self._clean = [self.output(layer, value) for layer, value in enumerate(raw)]
        wide = torch.promote_types(raw[0].dtype, torch.float32)
        self.values = torch.stack(raw).to(wide)

    def neurons(self, layer: int, inputs: Tensor) -> Tensor:
        """Values [sites, f] of a layer's neurons at inputs [sites, d] of its MLP: what the down-projection gets."""
        seen: list[Tensor] = []

        def see(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            seen.append(args[0])

        with forward_pre_hooks((self._architecture.down(layer).module, see)):
            self._architecture.mlp(layer)(inputs)
        return seen[0]

    def output(self, layer: int, values: Tensor) -> Tensor:
        """Output of a layer's MLP whose neurons have the values [..., sites, f]."""
        output: Tensor = self._architecture.down(layer).module(values)
        return output

    def gradients(self, points: Tensor) -> Tensor:
        """Sum over the points of each neuron's gradient, [layers, sites, f]."""
        leaves: list[Tensor] = []
        states = self._inputs[0][:0]  # [tokens so far, d]
        for layer in range(self._architecture.depth):
            states = self._block(layer, states)
            leaf = (points.to(self.values)[:, None, None] * self.values[layer]).requires_grad_()
            leaves.append(leaf)  # [points, sites, f]
            output = self.output(layer, leaf.to(self._inputs[layer].dtype))  # of the changed MLPs, [points, sites, d]
            changed = self._trace.entering[layer + 1][0, self._positions] + output - self._clean[layer]
            states = torch.cat([states, changed.flatten(0, 1)])
        read = self._probabilities(states).sum()
        return torch.stack([gradient.sum(0) for gradient in torch.autograd.grad(read, leaves)])

    def _probabilities(self, states: Tensor) -> Tensor:
        """Probability [tokens, 1] of each site's id after states [tokens, d]; of many tokens in parts, computed twice.

        Over a vocabulary of 32,000 the probabilities of 280 tokens, and what their gradient takes, are 144 MB.
        """
        tokens = self._tokens.repeat(len(states) // len(self._tokens))
        config: Any = self._architecture.trunk.config
        rows = max(1, LOGITS // (config.vocab_size * self.values.element_size()))
        if len(states) <= rows:
            return self._read(states, tokens)
        parts = zip(states.split(rows), tokens.split(rows), strict=True)
        return torch.cat([checkpoint(self._read, *part, use_reentrant=False) for part in parts])

    def _read(self, states: Tensor, tokens: Tensor) -> Tensor:
        logits: Tensor = self._architecture.head(self._architecture.norm(states[None]))[0]
        return logits.to(self.values.dtype).softmax(-1).gather(1, tokens[:, None])

    def _block(self, layer: int, states: Tensor) -> Tensor:
        """One block over the tokens with a neuron changed in a lower block, [tokens, d]."""
        if len(states) == 0:
            return states
        positions = self._positions.repeat(len(states) // len(self._positions))
        named = self._arguments(layer, positions, states.dtype)
        return first_tensor(self._architecture.blocks[layer](states[None], **named))[0]

    def _arguments(self, layer: int, positions: Tensor, dtype: torch.dtype) -> Arguments:
        """The block's own arguments for tokens at these positions, which do not attend to each other."""
        named: Arguments = {}
        for name, value in self._trace.calls[layer].items():
            if name in BLOCK_CACHE_ARGUMENTS:
                stored = keys_and_values(self._trace.cache, layer)
                assert stored is not None  # the trace made the cache
                named[name] = FixedKVCache(*stored, length=int(self._positions.max()))
            elif name == "attention_mask":
                named[name] = self._mask(value, positions, dtype)
            elif name in ("position_ids", "position_embeddings"):
                named[name] = _at(value, positions)
            elif not isinstance(value, Tensor):
                named[name] = value
        return named

    def _mask(self, mask: Tensor | None, positions: Tensor, dtype: torch.dtype) -> Tensor:
        """Additive mask [1, 1, tokens, prefix + tokens]: the model's own before a position, then the token itself."""
        length, device = self._trace.ids.shape[1], positions.device
        if mask is None:
            allowed = torch.ones(length, length, dtype=torch.bool, device=device).tril()
        else:
            allowed = (mask if mask.dtype == torch.bool else mask == 0)[0, 0]
        before = torch.arange(int(self._positions.max()), device=device)
        left = allowed[positions][:, before] & (before < positions[:, None])
        both = torch.cat([left, torch.eye(len(positions), dtype=torch.bool, device=device)], dim=1)
        return torch.zeros(both.shape, dtype=dtype, device=device).masked_fill_(~both, torch.finfo(dtype).min)[
            None, None
        ]


def _at(value: States | None, positions: Tensor) -> States | None:
    """Values per position, [1, length, ...] or a tuple of such, at some positions."""
    if isinstance(value, tuple):
        return tuple(part[:, positions] for part in value)
    return None if value is None else value[:, positions]


def _traced(architecture: Architecture, ids: Sequence[int]) -> tuple[list[Tensor], Trace]:
    """The row's pass, and the input [length, d] of each layer's MLP in it."""
    inputs: list[Tensor] = []

    def keep(_mlp: nn.Module, args: tuple[Tensor, ...]) -> None:
        inputs.append(args[0][0])

    with forward_pre_hooks(*((architecture.mlp(layer), keep) for layer in range(architecture.depth))):
        return inputs, Trace(architecture, [Row(tuple(ids), len(ids) - 1)], ())


def attribute(paths: NeuronPaths, points: Tensor, batch_size: int) -> Tensor:
    """Mean over the sites of a ⊙ mean over the points α of ∂p(site's token) / ∂(α a), for every neuron a.

    Args:
        paths: Row, sites and neurons.
        points: α, [m]; the neurons of a layer are multiplied by each.
        batch_size: Points in one pass; fewer take less memory and more time.

    Returns:
        Scores [layers, f], in float32 or wider.
    """
    with torch.enable_grad():
        parts = [paths.gradients(part) for part in points.split(batch_size)]
        total = torch.stack(parts).sum(0)  # [layers, sites, f]
        return (paths.values * total / len(points)).mean(1)
