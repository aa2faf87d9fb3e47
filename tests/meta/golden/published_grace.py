"""GRACE as its authors' code has it.

- Two answers are one if the means of their labels are equal: permuted answers are mistaken for one, and one answer
  after prompts of different lengths for two.
- In a conflict both balls get half the distance, also where that makes one larger.
- A second answer to an edited prompt gets a ball of its own behind the first one's key, and never fires.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from editors.grace import Grace
from editors.grace.codebook import GAP, Codebook


class PublishedCodebook(Codebook):
    """A codebook by the published rules."""

    def same_answer(self, left: Sequence[int], right: Sequence[int]) -> bool:
        """By the means of the labels, the prompt's masks included."""
        means = [torch.tensor(label, dtype=torch.float32).mean() for label in (left, right)]
        return bool(means[0] == means[1])

    def is_repeat(self, query: Tensor, distance: float) -> bool:  # noqa: ARG002 - whatever they are
        """Never."""
        return False

    def parted(self, near: int, distance: float, eps: float) -> tuple[float, float]:  # noqa: ARG002 - the distance says it
        """Half the distance."""
        return distance / 2, distance / 2 - GAP


class PublishedGrace(Grace):
    """GRACE with that codebook."""

    Book: ClassVar[type[Codebook]] = PublishedCodebook
