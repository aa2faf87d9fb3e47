"""Where numbers lie on an axis: ranges and round ticks, linear or logarithmic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TICKS = 6
NONE = 0.5  # where N = 0 lies on a logarithmic axis
MARGIN = 0.03  # room beyond the outermost numbers
NARROW = 6.0  # below this ratio a logarithmic axis has evenly spaced ticks
WIDE = 1e3  # above it only powers of ten


@dataclass(frozen=True)
class Axis:
    """A range of numbers with ticks.

    Attributes:
        label: what is measured, with its unit.
        low: the number at the axis' beginning.
        high: the number at its end; above `low`.
        ticks: (number, text), ascending.
        logarithmic: whether equal ratios have equal lengths; then all numbers are positive.
    """

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool = False

    def place(self, number: float) -> float:
        """Return where a number lies between 0 (low) and 1 (high); numbers beyond are cut off."""
        low, high, here = self.low, self.high, min(max(number, self.low), self.high)
        if self.logarithmic:
            low, high, here = math.log(low), math.log(high), math.log(here)
        return (here - low) / (high - low)


def count_axis(label: str, counts: Sequence[int]) -> Axis:
    """Return a logarithmic axis with a tick at every N; a single N lies in the middle, N = 0 at the axis' beginning."""
    shown = [max(float(n), NONE) for n in counts]
    low, high = min(shown) / 1.15, max(shown) * 1.15
    return Axis(label, low, high, tuple((max(float(n), NONE), str(n)) for n in counts), logarithmic=True)


def class_axis(label: str, classes: Sequence[str]) -> Axis:
    """Return an axis of named classes: the k-th lies at k."""
    return Axis(label, -0.4, len(classes) - 0.6, tuple((float(k), text) for k, text in enumerate(classes)))


def linear_axis(label: str, numbers: Iterable[float]) -> Axis:
    """Return an axis that holds all numbers, with ticks at multiples of 1, 2 or 5 times a power of ten."""
    found = list(numbers)
    low, high = min(found), max(found)
    room = (high - low or 1.0) * MARGIN
    return Axis(label, low - room, high + room, _multiples(low - room, high + room))


def log_axis(label: str, numbers: Iterable[float]) -> Axis:
    """Return a logarithmic axis that holds all numbers, all of them positive, with ticks at 1, 2, 5, 10, ..."""
    found = list(numbers)
    room = max((max(found) / min(found)) ** MARGIN, 1.01)
    low, high = min(found) / room, max(found) * room
    if high / low < NARROW:
        return Axis(label, low, high, _multiples(low, high), logarithmic=True)
    steps = (1, 2, 5) if high / low < WIDE else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
    shown = inside[:: math.ceil(len(inside) / (TICKS + 2))]
    return Axis(label, low, high, tuple((each, f"{each:.6g}") for each in shown), logarithmic=True)


def _multiples(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """The round numbers between two ends."""
    step = _round_step((high - low) / TICKS)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple((min(max(k * step, low), high), f"{k * step:.6g}") for k in range(first, last + 1))


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough * 0.999)
