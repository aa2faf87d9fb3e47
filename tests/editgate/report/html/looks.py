"""What tells one method from the others in a chart: color, marker and dashes; the colors are the style sheet's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from editgate.report.templates import PAGE

COLORS = 12
MARKERS = "os^DvP"
DASHES: tuple[tuple[float, ...], ...] = ((), (6, 3), (2, 2.5), (8, 3, 2, 3), (12, 3))
PAGE_COLORS = ("ink", "soft", "rule", "paper", *(f"c{index}" for index in range(COLORS)))
STAND_INS = {name: f"#{index:06x}" for index, name in enumerate(PAGE_COLORS, start=1)}  # matplotlib knows no variables
VARIABLES = {stand_in: f"var(--{name})" for name, stand_in in STAND_INS.items()}

Palette = Mapping[str, str]  # name: color


@dataclass(frozen=True)
class Look:
    """The look of one method; `color` is a name of the palette."""

    color: str
    marker: str
    dashes: tuple[float, ...]


def look_of(style_number: int) -> Look:
    """Return the look of the method with this number; 60 of them differ, 30 of them without color."""
    color = f"c{style_number % COLORS}"
    return Look(color, MARKERS[style_number % len(MARKERS)], DASHES[style_number % len(DASHES)])


@cache
def style_sheet() -> str:
    """Return the page's style sheet."""
    return (PAGE / "page.css").read_text(encoding="utf-8")


def palette(scheme: str) -> Palette:
    """Return the colors of "light" or "dark" as the style sheet has them; a figure in a file is light."""
    light, dark, *_ = re.findall(r":root \{(.*?)\}", style_sheet(), flags=re.DOTALL)
    return dict(re.findall(r"--(\w+): (#[0-9a-f]+)", light if scheme == "light" else dark))
