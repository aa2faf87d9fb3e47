"""Gradient steps on a few weights until rows predict their labels: what FT-L and LocFT-BF share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editors.core.errors import NonFiniteEdit
from editors.models.architecture import Architecture
from editors.models.suffix_forward import UpperBlocks
from editors.models.tokens import Row
from editors.models.trace import Trace

LOSS_TOLERANCE = 1e-2  # no step is taken below this loss, as in the authors' code


class LabeledRows:
    """A batch of edits, and their loss as a function of the trained weights."""

    def __init__(
        self, architecture: Architecture, first: int, rows: Sequence[Row], targets: Sequence[Sequence[int]]
    ) -> None:
        trace = Trace(architecture, rows, ())
        trace.drop_cache()
        self._upper_blocks = UpperBlocks(trace, first)
        self._labels = [len(row.labels) for row in rows]
        self._targets = [torch.tensor(target, device=trace.ids.device) for target in targets]

    def __len__(self) -> int:
        return len(self._targets)

    def loss(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Mean over the edits of the mean NLL of their tokens; one label serves all tokens of its edit."""
        logits = self._upper_blocks.logits(weights)
        scores = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1).split(self._labels)
        losses = [
            -part.expand(len(target), -1).gather(1, target[:, None].to(part.device)).mean()
            for part, target in zip(scores, self._targets, strict=True)
        ]
        return torch.stack(losses).mean()


@dataclass(frozen=True)
class Descent:
    """Outcome of a training.

    Attributes:
        weights: By name, in float32 or wider.
        loss: Mean over the edits in the last pass.
        steps: Steps of Adam.
        change: What was added to each weight.
    """

    weights: dict[str, Tensor]
    loss: float
    steps: int
    change: dict[str, Tensor]

    def diagnostics(self) -> dict[str, float]:
        """Loss, steps, and the update's length and largest entry."""
        where = next(iter(self.change.values())).device
        changes = torch.cat([value.flatten().to(where) for value in self.change.values()])
        return {
            "loss": self.loss,
            "steps": float(self.steps),
            "update_norm": float(changes.norm()),
            "update_max": float(changes.abs().max()),
        }


def descend(
    before: Mapping[str, Tensor],
    passes: Iterable[Iterable[LabeledRows]],
    *,
    lr: float,
    weight_decay: float,
    project: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Descent:
    """Train weights by Adam, one step a batch, until the mean loss of a pass is below the tolerance.

    Args:
        before: The weights to start from, by name, in the model's dtype.
        passes: At least one, each with all edits in batches.
        lr: Adam's rate.
        weight_decay: Adam's, added to the gradient.
        project: Brings a weight back into bounds after each step, given what it was at the start.

    Raises:
        NonFiniteEdit: A loss is not finite.
    """
    start = {name: value.to(torch.promote_types(value.dtype, torch.float32)) for name, value in before.items()}
    weights = {name: value.clone().requires_grad_() for name, value in start.items()}
    adam = torch.optim.Adam(weights.values(), lr=lr, weight_decay=weight_decay)
    steps, mean = 0, float("nan")
    for batches in passes:
        losses, counts = [], []
        for batch in batches:
            loss = batch.loss({name: value.to(before[name].dtype) for name, value in weights.items()})
            losses.append(float(loss.detach()))
            counts.append(len(batch))
            if not loss.isfinite():
                raise NonFiniteEdit("the loss is not finite")
            if losses[-1] >= LOSS_TOLERANCE:
                adam.zero_grad()
                loss.backward()
                adam.step()
                steps += 1
            if project is not None:
                with torch.no_grad():
                    for name, value in weights.items():
                        value.copy_(project(value, start[name]))
        mean = sum(loss * count for loss, count in zip(losses, counts, strict=True)) / sum(counts)
        if mean < LOSS_TOLERANCE:
            break
    after = {name: value.detach() for name, value in weights.items()}
    return Descent(after, mean, steps, {name: value - start[name] for name, value in after.items()})
