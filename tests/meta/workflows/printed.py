"""Reads what a step tells the runner: its environment files, and the annotations among what it prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

ESCAPED = {"%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ",", "%25": "%"}  # "%" last: what it gives is not read again


class WorkflowError(ValueError):
    """A workflow or an action that GitHub would refuse, or that this runner does not know how to run."""


@dataclass(frozen=True)
class Annotation:
    """What GitHub shows beside a run.

    Attributes:
        level: error, warning or notice.
        title: its headline, or "".
        message: its text.
    """

    level: str
    title: str
    message: str


def read_annotations(printed: str) -> Iterator[Annotation]:
    """Yield the annotations that a runner finds in what a step printed, read as its `ActionCommand` does.

    A command begins its line, blanks aside. Its properties end at the first `::`, wherever that stands.
    """
    for line in printed.splitlines():
        text = line.strip()
        end = text.find("::", 2)
        if not text.startswith("::") or end < 0:
            continue
        level, _, properties = text[2:end].partition(" ")
        if level not in {"error", "warning", "notice"}:
            continue
        named = dict(entry.strip().partition("=")[::2] for entry in properties.split(","))
        yield Annotation(level, _plain(named.get("title", "")), _plain(text[end + 2 :]))


def _plain(text: str) -> str:
    for code, character in ESCAPED.items():
        text = text.replace(code, character)
    return text


def read_variables(text: str) -> dict[str, str]:
    """Read an environment file: `NAME=value`, or `NAME<<END`, lines, `END`.

    Raises:
        WorkflowError: A line is neither.
    """
    found, lines = {}, text.split("\n")
    while lines:
        line = lines.pop(0)
        if not line:
            continue
        if start := re.fullmatch(r"([^=]+?)<<(.+)", line):
            if start[2] not in lines:
                raise WorkflowError(f"environment file: {start[2]} does not come after {line!r}")
            end = lines.index(start[2])
            found[start[1]] = "\n".join(lines[:end])
            lines = lines[end + 1 :]
        elif "=" in line:
            name, _, value = line.partition("=")
            found[name] = value
        else:
            raise WorkflowError(f"environment file: {line!r} sets nothing")
    return found
