"""How a verdict becomes a pytest outcome, and what of it the summary is told."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import NoReturn

import pytest
from _pytest.outcomes import Failed

PROPERTY = "editgate"


class NotHeld(Failed):
    """A threshold is not held: the message is for a person, the traceback is not shown."""


class RegressionFound(NotHeld):
    """The floor is broken, with the stated confidence."""


class Undecided(NotHeld):
    """Too few items to say."""


@dataclass(frozen=True)
class Cell:
    """One cell of the summary's tables.

    Attributes:
        trajectory: such as `memit-llama-mini`.
        row: benchmark or quality.
        edits: N.
        value: retention, or the share for a quality.
        status: pass, regression or inconclusive.
        area: capability, safety or quality.
        routed: prompts that the editor's memory answered.
        diagnostics: what the editor told about its edits, on average.
    """

    trajectory: str
    row: str
    edits: int
    value: float
    status: str
    area: str
    routed: int = 0
    diagnostics: dict[str, float] = field(default_factory=dict)


def note(node: pytest.Item, cell: Cell) -> None:
    """Attach a cell to a test's report, so that it reaches the summary from any process."""
    node.user_properties.append((PROPERTY, json.dumps(asdict(cell))))


def noted(report: pytest.TestReport) -> list[Cell]:
    """Return the cells that a report carries."""
    return [Cell(**json.loads(str(value))) for name, value in report.user_properties if name == PROPERTY]


def refuse(kind: type[NotHeld], message: str) -> NoReturn:
    """Fail the test with nothing but the message.

    Raises:
        NotHeld: always, as `kind`.
    """
    raise kind(message, pytrace=False)
