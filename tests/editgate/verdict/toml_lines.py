"""Finds the line of a key in a TOML text, for messages: pydantic tells the key and not the place."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

Where = tuple[str | int, ...]

HEADER = re.compile(r"^\s*\[(\[)?\s*(.+?)\s*\]\]?\s*(#.*)?$")
KEY = re.compile(r"""^\s*((?:"[^"]*"|'[^']*'|[\w-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[\w-]+))*)\s*=""")


def line_of(text: str, where: Where) -> int:
    """The line (from 1) of the innermost key on the way to `where`; 1 if none is found.

    Args:
        text: valid TOML.
        where: keys and list positions, as pydantic reports them. A single table that stands for a list of one
            has position 0.
    """
    best, line = 0, 1
    for number, path in _paths(text):
        fits = path == where[: len(path)] or path == tuple(step for step in where if step != 0)[: len(path)]
        if fits and len(path) > best:
            best, line = len(path), number
    return line


def _paths(text: str) -> Iterator[tuple[int, Where]]:
    """(line, path) of every table header and key that starts a line."""
    table: Where = ()
    seen: dict[Where, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := HEADER.match(line):
            table = _steps(header[2])
            if header[1]:
                seen[table] = seen.get(table, -1) + 1
                table = (*table, seen[table])
            yield number, table
        elif key := KEY.match(line):
            yield number, (*table, *_steps(key[1]))


def _steps(dotted: str) -> Where:
    """Splits a dotted key, quotes and all, by letting TOML read it."""
    try:
        inner = tomllib.loads(f"{dotted} = 0")
    except tomllib.TOMLDecodeError:
        return (dotted,)
    steps: list[str] = []
    while isinstance(inner, dict):
        step, inner = next(iter(inner.items()))
        steps.append(step)
    return tuple(steps)
