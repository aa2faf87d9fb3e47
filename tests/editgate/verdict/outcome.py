"""How a verdict becomes a pytest outcome, and what of it the summary and the report are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import NoReturn

import pytest
from _pytest.outcomes import Failed
from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

PROPERTY = "editgate"
FINDING = "editgate finding"
PLACE = "editgate place"  # noted before anything is measured: what a test that cannot be evaluated was about
SAFETY = "safety regression"
NOT_EVALUATED = "not evaluated"
CHECKED = ConfigDict(extra="forbid", ser_json_inf_nan="strings")


class ThresholdNotMet(Failed):
    """A threshold is not held: the message is for a person, the traceback is not shown."""


class Regression(ThresholdNotMet):
    """The floor is broken, with the stated confidence."""


class Inconclusive(ThresholdNotMet):
    """Too few items to say."""


@dataclass(frozen=True, config=CHECKED)
class Flip:
    """One item that was answered better before the edits."""

    question: str
    expected: str
    before: str
    now: str


@dataclass(frozen=True, config=CHECKED)
class Age:
    """How many of the edits that had between `first` and `last` edits after them still take."""

    first: int
    last: int
    edits: int
    took: int


@dataclass(frozen=True, config=CHECKED)
class OrderBudget:
    """How many edits one order of them bears.

    Attributes:
        order: seed of the order; 0 is the file's own.
        budget: the largest N at which everything held.
        failed_at: the N that ended it, the next one; None if the largest N tried held.
        ended_by: the benchmark or quality that did not hold there: the first one asked.
        status: of that; empty if nothing ended it.
        area: of that.
        value: its retention or share; None if it has no number.
        floor: the least value allowed.
        judged: the Ns that were judged, in the order in which they were.
    """

    order: int
    budget: int
    failed_at: int | None = None
    ended_by: str = ""
    status: str = ""
    area: str = ""
    value: float | None = None
    floor: float | None = None
    judged: tuple[int, ...] = ()

    @property
    def shown(self) -> str:
        """The budget; where nothing ended it, as the least that it can be."""
        return f"{self.budget}" if self.failed_at is not None else f"{self.budget} or more"

    @property
    def end(self) -> str:
        """What ended it, such as `toxigen (safety, inconclusive)`."""
        said = {"safety": "safety", "inconclusive": "inconclusive", NOT_EVALUATED: NOT_EVALUATED}
        marks = ", ".join(said[each] for each in (self.area, self.status) if each in said)
        return f"{self.ended_by} ({marks})" if marks else self.ended_by


@dataclass(frozen=True, config=CHECKED)
class Cell:
    """One cell of the summary's tables, with what the report says about it.

    Attributes:
        trajectory: such as `memit-llama-mini`.
        row: benchmark, quality, rule of integrity, or "edit budget".
        edits: N; 0 for a rule and for the edit budget.
        value: retention, the share for a quality, or the smallest budget; None if there is no number.
        status: pass, regression, inconclusive, skipped, rule broken or not evaluated.
        area: capability, safety, quality, integrity or budget.
        routed: prompts that the editor's memory answered.
        diagnostics: what the editor told about its edits, on average.
        test: the test's id.
        reason: the failure's message, or why there is no verdict.
        known: the reason of the known limit that covers this cell; empty if none does.
        lifted: a strict known limit covers it, and yet it passed; the run is red until the limit's file is changed.
        low: lower end of the value's band; None if no band is known.
        high: upper end of it.
        floor: the least value allowed.
        items: how many were asked.
        before: score of the unedited model; for a quality the share right after each edit.
        after: score of the edited one.
        chance: score of guessing.
        collapse: what the model answers to nearly everything; empty if it did not collapse.
        balance: where there are two classes, the one answered most, its share now and before.
        flips: a few items that got worse.
        growth: norm after / norm before of the weights that moved most.
        perplexity: of the edited model on a small fixed sample.
        perplexity_before: of the unedited one.
        ages: the edits that still take, by how many came after them.
        orders: of an edit budget: how many edits each order bears.
    """

    trajectory: str
    row: str
    edits: int
    value: float | None
    status: str
    area: str
    routed: int = 0
    diagnostics: dict[str, float] = field(default_factory=dict)
    test: str = ""
    reason: str = ""
    known: str = ""
    lifted: bool = False
    low: float | None = None
    high: float | None = None
    floor: float | None = None
    items: int = 0
    before: float | None = None
    after: float | None = None
    chance: float | None = None
    collapse: str = ""
    balance: str = ""
    flips: tuple[Flip, ...] = ()
    growth: dict[str, float] = field(default_factory=dict)
    perplexity: float | None = None
    perplexity_before: float | None = None
    ages: tuple[Age, ...] = ()
    orders: tuple[OrderBudget, ...] = ()


CELL = TypeAdapter(Cell)


def note(node: pytest.Item, cell: Cell) -> None:
    """Attach a cell to a test's report, so that it reaches the summary from any process."""
    node.user_properties.append((PROPERTY, CELL.dump_json(cell, exclude_defaults=True).decode()))
    if cell.area == "safety" and cell.status == "regression":
        named = f"collapse: {cell.collapse}" if cell.collapse else f"retention {cell.value:.2f}"
        node.user_properties.append((SAFETY, f"{cell.trajectory}: {cell.row} after {cell.edits} edits, {named}"))


def note_finding(node: pytest.Item, text: str) -> None:
    """Attach a finding in words to a test's report, for the summary."""
    node.user_properties.append((FINDING, text))


def noted(report: pytest.TestReport) -> list[Cell]:
    """Return the cells that a report carries."""
    return _cells(report.user_properties, PROPERTY)


def place(node: pytest.Item, trajectory: str, row: str, edits: int, area: str) -> None:
    """Say what a test is about before it measures anything; without a verdict this is all that is known."""
    cell = Cell(trajectory, row, edits, None, NOT_EVALUATED, area)
    node.user_properties.append((PLACE, CELL.dump_json(cell, exclude_defaults=True).decode()))


def placed(report: pytest.TestReport) -> list[Cell]:
    """Return what a test was about, without any number."""
    return _cells(report.user_properties, PLACE)


def refuse(kind: type[ThresholdNotMet], message: str) -> NoReturn:
    """Fail the test with nothing but the message.

    Raises:
        ThresholdNotMet: always, as `kind`.
    """
    raise kind(message, pytrace=False)


def _cells(properties: Sequence[tuple[str, object]], wanted: str) -> list[Cell]:
    return [CELL.validate_json(str(value)) for name, value in properties if name == wanted]
