"""How the terminal's lines get their colors: through rich, as text, so that pytest writes them."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType

STYLES = {"✗": "bold red", "!": "bold red", "+": "bold yellow", "?": "yellow", "·": "dim", "k": "dim"}  # by mark


def rendered(shown: RenderableType, width: int, *, color: bool) -> list[str]:
    """Return the lines of something that rich can draw, with escape sequences only where colors are wanted."""
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        legacy_windows=False,
        highlight=False,
        emoji=False,
        markup=False,
    )
    console.print(shown, soft_wrap=False)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    while lines and not lines[0]:
        del lines[0]
    while lines and not lines[-1]:
        del lines[-1]
    return lines
