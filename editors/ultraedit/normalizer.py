"""Running mean and variance of rows, over all rows ever seen (Chan et al. 1983, eq. 2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

EPSILON = torch.finfo(torch.float32).eps  # beside counts and spreads, as in UltraEdit's code


@dataclass(frozen=True)
class Moments:
    """What is kept of the rows so far.

    Attributes:
        count: Number of rows, [1] int64.
        mean: Their mean, [width] float64.
        squares: Sum of their squared distances from it, [width] float64.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    @classmethod
    def none(cls, width: int, device: torch.device) -> Self:
        """Of no rows."""
        zeros = torch.zeros(width, dtype=torch.float64, device=device)
        return cls(torch.zeros(1, dtype=torch.int64, device=device), zeros, zeros)

    def with_rows(self, rows: Tensor) -> Self:
        """Of these rows [n, width] too: the same, up to rounding, however rows are cut into calls."""
        rows = rows.double()
        total = self.count + len(rows)
        mean = rows.mean(0)
        apart = mean - self.mean
        return type(self)(
            total,
            self.mean + len(rows) * apart / total,
            self.squares + self.spread(rows) + self.count * len(rows) * apart**2 / total,
        )

    def spread(self, rows: Tensor) -> Tensor:
        """What rows [n, width] by themselves add to the squares: distances from their own mean."""
        return ((rows - rows.mean(0)) ** 2).sum(0)

    @property
    def std(self) -> Tensor:
        """Standard deviation, [width]; 0 of one row."""
        return (self.squares / (self.count - 1 + EPSILON)).sqrt()

    def normalize(self, rows: Tensor) -> Tensor:
        """(rows - mean) / std, [n, width] float64.

        Where all rows so far agree, as when there is one, that would be 0: their distance from 0 stands for both.
        """
        same = self.squares == 0
        center, spread = self.mean.where(~same, 0.0), self.std.where(~same, self.mean.abs())
        return (rows.double() - center.to(rows.device)) / (spread.to(rows.device) + EPSILON)
