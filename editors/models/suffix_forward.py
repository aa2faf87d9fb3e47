"""The model from one block on, as a function of its weights; the blocks below are computed once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import functional_call

from editors.models.architecture import first_tensor
from editors.models.compat import BLOCK_CACHE_ARGUMENTS
from editors.models.trace import Trace


class UpperBlocks:
    """Logits at all labels of a trace's rows, as a function of weights in block `first` and above.

    Args:
        trace: The rows' pass through the model as it is.
        first: The lowest block with a weight to be replaced.
    """

    def __init__(self, trace: Trace, first: int) -> None:
        self._architecture = trace.architecture
        self._first = first
        self._start = trace.entering[first].detach()
        self._calls = [
            {name: None if name in BLOCK_CACHE_ARGUMENTS else value for name, value in call.items()}
            for call in trace.calls[first:]
        ]
        labels = [(index, label) for index, row in enumerate(trace.rows) for label in row.labels]
        self._rows, self._positions = torch.tensor(labels, device=trace.ids.device).T

    @property
    def size(self) -> int:
        """Bytes of the states kept."""
        return self._start.nbytes

    def logits(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Logits [labels of all rows in order, V] with the weights, named as in the whole model, in place."""
        logits: Tensor = self._architecture.head(self._architecture.norm(self.states(weights)))
        return logits

    def states(self, weights: Mapping[str, Tensor]) -> Tensor:
        """States [labels, d] that leave the last block, with these weights and the hooks that are registered now."""
        states = self._start
        for layer, call in enumerate(self._calls, start=self._first):
            prefix = f"{self._architecture.family.blocks}.{layer}."
            own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
            states = first_tensor(functional_call(self._architecture.blocks[layer], own, (states,), call))
        return self.at_labels(states)

    def at_labels(self, states: Tensor) -> Tensor:
        """States [B, length, d] where labels are read, [labels, d]."""
        return states[self._rows.to(states.device), self._positions.to(states.device)]
