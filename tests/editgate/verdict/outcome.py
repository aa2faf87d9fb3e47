"""What became of one question of the gate: its outcome, the cell that tables and reports show, how its test ends."""

from __future__ import annotations

from dataclasses import field, replace
from enum import StrEnum

import pytest
from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

CELL_PROPERTY = "editgate"
FLIPS_PROPERTY = "editgate flips"
SUBJECT_PROPERTY = "editgate subject"  # noted before anything is measured: what a test that has no cell was about
SAFETY_PROPERTY = "safety regression"
FINDING_PROPERTY = "editgate finding"
CHECKED = ConfigDict(extra="forbid", ser_json_inf_nan="strings")


class Outcome(StrEnum):
    """What a check came to; only the first three are verdicts."""

    PASS = "pass"  # noqa: S105 - no password
    REGRESSION = "regression"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"
    RULE_BROKEN = "rule broken"  # of integrity
    NOT_EVALUATED = "not evaluated"
    KNOWN_FAILURE = "known failure"  # a failure that thresholds/ has on record
    UNEXPECTED_PASS = "unexpected pass"  # noqa: S105 - a failure on record that did not come, where it always came


class ThresholdNotMet(pytest.fail.Exception):  # type: ignore[name-defined, misc]  # pytest gives its own type no name
    """A threshold is not met: the message is for a person, the traceback is not shown."""


class Regression(ThresholdNotMet):
    """The floor is broken, with the stated confidence."""


class Inconclusive(ThresholdNotMet):
    """Too few items to say."""


class RuleBroken(ThresholdNotMet):
    """A rule of integrity is broken."""


_FAILURES: dict[Outcome, type[ThresholdNotMet]] = {
    Outcome.REGRESSION: Regression,
    Outcome.INCONCLUSIVE: Inconclusive,
    Outcome.RULE_BROKEN: RuleBroken,
    Outcome.NOT_EVALUATED: Regression,  # of an edit budget: the edits left a model that answers NaN
}


@dataclass(frozen=True, config=CHECKED)
class Flip:
    """One item that was answered better before the edits.

    Attributes:
        question: enough of it for a person to recognize it; for a quality the prompt.
        expected: what would have been right.
        before: what the unedited model answered; for a quality what the model answered right after the edit.
        now: what the edited one answers.
        task: lm-eval's own (leaf) task; for a quality its name.
        item: lm-eval's hash of the document; empty for a quality.
    """

    question: str
    expected: str
    before: str
    now: str
    task: str = ""
    item: str = ""


@dataclass(frozen=True, config=CHECKED)
class Age:
    """How many of the edits that had between `first` and `last` edits after them still take."""

    first: int
    last: int
    edits: int
    took: int


@dataclass(frozen=True, config=CHECKED)
class OrderBudget:
    """How many edits one order of them survives.

    Attributes:
        order: seed of the order; 0 is the file's own.
        budget: the largest N at which everything passed.
        failed_at: the N that ended it, the next one; None if the largest N tried passed.
        ended_by: the benchmark or quality that failed there: the first one asked.
        outcome: of that; None if nothing ended it.
        area: of that.
        value: its retention or share; None if it has no number.
        floor: the least value allowed.
        judged: the Ns that were judged, in the order in which they were.
    """

    order: int
    budget: int
    failed_at: int | None = None
    ended_by: str = ""
    outcome: Outcome | None = None
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
        marks = [self.area] if self.area == "safety" else []
        marks += [self.outcome] if self.outcome in {Outcome.INCONCLUSIVE, Outcome.NOT_EVALUATED} else []
        return f"{self.ended_by} ({', '.join(marks)})" if marks else self.ended_by


@dataclass(frozen=True, config=CHECKED)
class Cell:
    """One question of the gate and its answer: a cell of the tables, with what the report says about it.

    Attributes:
        trajectory: such as `memit-llama-mini`.
        check: benchmark, quality, rule of integrity, or "edit budget".
        edits: N; 0 for a rule and for the edit budget.
        value: retention, the share for a quality, or the smallest budget; None if there is no number.
        outcome: what it came to.
        area: capability, safety, quality, integrity or budget.
        routed: prompts that the editor's memory answered.
        diagnostics: what the editor said about its edits, on average.
        test: the test's id.
        reason: the failure's message, or why there is no verdict.
        known_failure: the reason of the known failure that covers this cell; empty if none does.
        unexpected_pass: a strict known failure covers it, and yet it passed; the run is red until the file is changed.
        low: lower end of the value's band; None if no band is known.
        high: upper end of it.
        floor: the least value allowed.
        items: how many were asked.
        before: score of the unedited model; for a quality the share right after each edit.
        after: score of the edited one.
        chance: score of guessing.
        collapse: what the model answers to nearly everything; empty if it did not collapse.
        label_distribution: where there are two classes, the one answered most, its share now and before.
        flips: the items that got worse; `report.json` has the first few, `items.jsonl` all.
        flipped: how many they are.
        norm_ratio: norm after / norm before of the weights that moved most.
        perplexity: of the edited model on a small fixed sample.
        perplexity_before: of the unedited one.
        efficacy_by_age: the edits that still take, by how many came after them.
        exact: of efficacy and paraphrase: the share whose answer also stops where the target ends; decides nothing.
        teacher_forced: of efficacy: the share that agrees if it is given the target token by token; decides nothing.
        orders: of an edit budget: how many edits each order survives.
        fails: whether a test of this cell fails: an inconclusive one may be let through.
        batch_size: how many edits were applied at once; what is said of "right after each edit" is then of each batch.
        external: the model was changed elsewhere (`--edited`): its N, edits and edit budget mean nothing to a reader.
    """

    trajectory: str
    check: str
    edits: int
    value: float | None
    outcome: Outcome
    area: str
    routed: int = 0
    diagnostics: dict[str, float] = field(default_factory=dict)
    test: str = ""
    reason: str = ""
    known_failure: str = ""
    unexpected_pass: bool = False
    low: float | None = None
    high: float | None = None
    floor: float | None = None
    items: int = 0
    before: float | None = None
    after: float | None = None
    chance: float | None = None
    collapse: str = ""
    label_distribution: str = ""
    flips: tuple[Flip, ...] = ()
    flipped: int = 0
    norm_ratio: dict[str, float] = field(default_factory=dict)
    perplexity: float | None = None
    perplexity_before: float | None = None
    efficacy_by_age: tuple[Age, ...] = ()
    exact: float | None = None
    teacher_forced: float | None = None
    orders: tuple[OrderBudget, ...] = ()
    fails: bool = False
    external: bool = False
    batch_size: int = 1

    @property
    def step(self) -> str:
        """What was applied at once, before each measurement: an edit, or a batch of them."""
        return "edit" if self.batch_size == 1 else "batch"

    def raise_if_failed(self) -> None:
        """End the test as the cell says; nothing happens if it passed or is let through.

        Raises:
            ThresholdNotMet: it failed; the message is the whole report.
            pytest.skip.Exception: nothing was asked.
        """
        if self.outcome is Outcome.SKIPPED:
            pytest.skip(self.reason)
        if self.fails:
            raise _FAILURES[self.outcome](self.reason, pytrace=False)


CELL = TypeAdapter(Cell)
FLIPS = TypeAdapter(tuple[Flip, ...])
SAID_ELSEWHERE = {"reason", "fails", "flips"}  # the test's own report has the first two, once; flips are noted apart


def note(node: pytest.Item, cell: Cell) -> None:
    """Attach a cell to a test's report, so that it reaches the summary from any process."""
    _attach(node, CELL_PROPERTY, cell)
    if cell.flips:
        node.user_properties.append((FLIPS_PROPERTY, FLIPS.dump_json(cell.flips).decode()))
    if cell.area == "safety" and cell.outcome is Outcome.REGRESSION:
        named = f"collapse: {cell.collapse}" if cell.collapse else f"retention {cell.value:.2f}"
        after = "" if cell.external else f" after {cell.edits} edit{'' if cell.edits == 1 else 's'}"
        text = f"{cell.trajectory}: {cell.check}{after}, {named}"
        node.user_properties.append((SAFETY_PROPERTY, text))


def note_subject(node: pytest.Item, cell: Cell) -> None:
    """Say what a test is about before it measures anything; if it raises, this is all that is known."""
    _attach(node, SUBJECT_PROPERTY, cell)


def _attach(node: pytest.Item, name: str, cell: Cell) -> None:
    text = CELL.dump_json(cell, exclude_defaults=True, exclude=SAID_ELSEWHERE).decode()
    node.user_properties.append((name, text))


def note_finding(node: pytest.Item, text: str) -> None:
    """Attach a finding in words to a test's report, for the summary."""
    node.user_properties.append((FINDING_PROPERTY, text))


def noted_cells(report: pytest.TestReport) -> list[Cell]:
    """Return the cells that a report carries, the judged one before the one that only says what the test is about."""
    flips = tuple(FLIPS.validate_json(text) for text in _noted(report, FLIPS_PROPERTY))
    judged = [CELL.validate_json(text) for text in _noted(report, CELL_PROPERTY)]
    if flips:
        judged = [replace(cell, flips=found) for cell, found in zip(judged, flips, strict=True)]
    return [*judged, *(CELL.validate_json(text) for text in _noted(report, SUBJECT_PROPERTY))]


def forget_flips(report: pytest.TestReport) -> None:
    """Take the items out of a test's report once they are read: thousands of them do not belong into a JUnit file."""
    report.user_properties = [each for each in report.user_properties if each[0] != FLIPS_PROPERTY]


def _noted(report: pytest.TestReport, wanted: str) -> list[str]:
    return [str(value) for name, value in report.user_properties if name == wanted]
