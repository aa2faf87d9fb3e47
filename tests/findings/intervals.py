"""Confidence intervals over edit orders: each order is one observation, paired where two methods share it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A mean with its two-sided bounds."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Such as `+0.12 [-0.03, +0.27]`."""
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"

    @property
    def sign(self) -> int:
        """1 or -1 if the whole interval lies on that side of zero, else 0."""
        return int(self.low > 0) - int(self.high < 0)

    def to_json(self) -> dict[str, float]:
        """Return it for a snapshot."""
        return {"mean": self.mean, "low": self.low, "high": self.high}


def interval(values: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """Return Student's t interval of the mean of independent observations.

    Args:
        values: [orders], at least two.
        confidence: of both bounds together.

    Raises:
        ValueError: fewer than two observations have no spread.
    """
    found = np.asarray(values, dtype=float)
    if found.ndim != 1 or found.size < 2:
        raise ValueError(f"an interval needs at least two orders, got {found.shape}")
    mean = float(found.mean())
    half = float(stats.t.ppf((1 + confidence) / 2, found.size - 1) * found.std(ddof=1) / math.sqrt(found.size))
    return Interval(mean, mean - half, mean + half)
