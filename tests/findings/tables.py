"""Findings for people, as tables, and for snapshots, as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from findings.intervals import Interval

Cell: TypeAlias = Interval | float | str
WIDTH = 200


def never(edits: float | None) -> str:
    """Return a number of edits in words; None and infinity are never."""
    return "never" if edits is None or math.isinf(edits) else f"{edits:.0f}"


def table(rows: Mapping[str, Mapping[str, Cell]]) -> str:
    """Return the rows as a table; all must have the same columns."""
    shown = Table(box=SIMPLE_HEAD)
    shown.add_column("")
    for column in next(iter(rows.values())):
        shown.add_column(column)
    for name, cells in rows.items():
        shown.add_row(name, *(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells.values()))
    console = Console(width=WIDTH)
    with console.capture() as captured:
        console.print(shown)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines() if line.strip())


def to_json(rows: Mapping[str, Mapping[str, Cell]]) -> dict[str, dict[str, Any]]:
    """Return the rows' numbers for a snapshot; words are made of them, and may tip over on another machine."""
    return {
        name: {
            column: cell.to_json() if isinstance(cell, Interval) else cell
            for column, cell in cells.items()
            if not isinstance(cell, str)
        }
        for name, cells in rows.items()
    }
