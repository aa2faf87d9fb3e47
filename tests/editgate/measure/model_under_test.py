"""The base and the edited model that the gate compares, whether the edits were applied here or elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import nn

from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.unedited_model import UneditedModel
from editgate.measure.edit_quality import EditQuality
from editors import Edit


class Run(Protocol):
    """An unedited model, and the same model after N edits.

    Attributes:
        edits: in order.
        measured_per_edit: whether each edit was measured when it was new, and not only at the end.
    """

    edits: Sequence[Edit]

    @property
    def spec(self) -> EditorSpec:
        """Who changed the model."""

    @property
    def base(self) -> UneditedModel:
        """The unedited model."""

    @property
    def measured_per_edit(self) -> bool:
        """See above."""

    @property
    def name(self) -> str:
        """What ids and tables call it, such as `memit-llama-mini`."""

    def described(self, count: int) -> str:
        """Return how a sentence calls it, such as `after 5 edits of llama-mini with memit`."""

    def key(self, count: int) -> str:
        """Return the store's key: everything that the model after `count` edits depends on."""

    def model_at(self, count: int) -> nn.Module:
        """Return the model after `count` edits; 0 is the base's own state."""

    def norm_ratio(self, count: int) -> dict[str, float]:
        """Return the norm (Frobenius) of each changed parameter over that of the base's, largest change first."""

    def immediate(self, count: int) -> list[EditQuality]:
        """Return what was measured right after each of the first `count` edits, or after the batch that it was in."""

    def final(self, count: int) -> list[EditQuality]:
        """Return efficacy, paraphrase and locality of the first `count` edits, measured after the last of them."""

    def diagnostics(self, count: int) -> dict[str, float]:
        """Return numbers that say how the model was changed."""
