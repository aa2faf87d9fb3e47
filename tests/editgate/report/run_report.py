"""`report.json`: everything that the report shows, checked, versioned, and able to read itself back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from editgate.errors import ConfigError
from editgate.verdict.outcome import Cell, OrderBudget, Outcome

Result = Literal[
    "pass",
    "regression",
    "not evaluated",
    "inconclusive",
    "unexpected pass",
    "other failures",
    "incomplete",
    "nothing judged",
]


class Subject(BaseModel):
    """What the run was about.

    Attributes:
        model: name and digest of the weights.
        editors: names, as given or all.
        edits: name or file of the edits, and their order.
        counts: the Ns asked for.
        items: how many items a benchmark.
        conditions: type and device.
        command: what was typed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    editors: tuple[str, ...]
    edits: str
    counts: tuple[int, ...]
    items: str
    conditions: str
    command: str

    def differences(self, other: Subject) -> list[str]:
        """Return what makes two runs incomparable, in words; the command and the methods do not."""
        named = ("model", "edits", "items", "conditions")
        return [
            f"{name}: {getattr(other, name)} then, {getattr(self, name)} now"
            for name in named
            if getattr(self, name) != getattr(other, name)
        ]


class Budget(BaseModel):
    """One trajectory's edit budget and the words for it; see `editgate.report.trajectory_summary.Standing`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trajectory: str
    counts: tuple[int, ...]
    budget: int
    failed_at: int | None
    ended_by: str
    headline: str
    unasked: tuple[str, ...]
    broken: tuple[str, ...]
    orders: tuple[OrderBudget, ...] = ()


class Problem(BaseModel):
    """A test outside the gate that failed, or a crash."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    test: str
    reason: str


class RunReport(BaseModel):
    """One run.

    Attributes:
        version: of this form.
        created: when the report was written, UTC, ISO 8601.
        ended: "complete", or why the run ended early.
        ran: tests of the run that came to an end, and `collected` how many there were.
        collected: see there.
        result: the worst that happened and is no known limit.
        safety: the sentence about safety.
        budgets: one a trajectory.
        cells: one a test of the gate.
        problems: other tests that failed.
        changes: what changed since the report of `--compare`, in words.
        findings: what `--findings` measured, each a text with a table.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    version: Literal[1] = 1
    created: str
    ended: str
    ran: int
    collected: int
    result: Result
    safety: str
    subject: Subject
    budgets: tuple[Budget, ...]
    cells: tuple[Cell, ...]
    problems: tuple[Problem, ...]
    changes: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()


def result_of(cells: Sequence[Cell], *, complete: bool, sound: bool) -> Result:
    """Return the worst that happened and is no known limit; a pass only if the run is complete.

    Args:
        cells: one a test of the gate.
        complete: every test that was collected came to an end.
        sound: no test outside the gate failed.
    """
    found = {cell.outcome for cell in cells if not cell.known_failure}
    if Outcome.REGRESSION in found:
        return "regression"
    if found & {Outcome.NOT_EVALUATED, Outcome.RULE_BROKEN}:
        return "not evaluated"
    if Outcome.INCONCLUSIVE in found:
        return "inconclusive"
    if any(cell.unexpected_pass for cell in cells):
        return "unexpected pass"
    if not complete or not sound:
        return "other failures" if complete else "incomplete"
    return "pass" if any(cell.area != "integrity" and cell.value is not None for cell in cells) else "nothing judged"


def read_report(path: Path) -> RunReport:
    """Read a `report.json`.

    Raises:
        ConfigError: the file cannot be read, or is no report of this version.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"--compare {path}: cannot be read ({why}). Allowed: the report.json of --report.") from None
    try:
        return RunReport.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(
            f"--compare {path}: no report of version 1 ({where}: {first['msg']}). "
            "Allowed: the report.json that --report DIR wrote."
        ) from None
