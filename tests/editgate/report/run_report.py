"""`report.json`: everything that the report shows, validated, versioned, and readable again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from editgate.errors import ConfigError
from editgate.report.trajectory_summary import TrajectorySummary
from editgate.verdict.outcome import Cell, Outcome

VERSION: Literal[2] = 2
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
        editors: their names.
        edits: name or file of the edits, and their order.
        counts: the requested Ns.
        items: how many items a benchmark.
        conditions: dtype and device.
        command: the command line.
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
        """Return what makes two runs incomparable, in words; other commands and editors do not."""
        return [
            f"{name}: {getattr(other, name)} then, {getattr(self, name)} now"
            for name in ("model", "edits", "items", "conditions")
            if getattr(self, name) != getattr(other, name)
        ]


class Problem(BaseModel):
    """A test outside the gate that failed, or a crash."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    test: str
    reason: str


class RunReport(BaseModel):
    """One run.

    Attributes:
        version: of this schema; 2 renamed fields of 1.
        created: when the report was written, UTC, ISO 8601.
        ended: "complete", or why the run ended early.
        ran: number of tests that ended.
        collected: number of tests that were to run.
        result: the worst outcome that is not a known failure.
        safety: the sentence about safety.
        subject: what the run was about.
        budgets: one summary per trajectory.
        cells: one per gate test.
        problems: other tests that failed.
        changes: what changed since the report of `--compare`, in words.
        findings: what `--findings` measured, each a text with a table.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    version: Literal[2] = VERSION
    created: str
    ended: str
    ran: int
    collected: int
    result: Result
    safety: str
    subject: Subject
    budgets: tuple[TrajectorySummary, ...]
    cells: tuple[Cell, ...]
    problems: tuple[Problem, ...]
    changes: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()


def result_of(cells: Sequence[Cell], *, complete: bool, others_passed: bool) -> Result:
    """Return the worst outcome that is not a known failure; a pass only if the run is complete.

    Args:
        cells: one per gate test.
        complete: every test that was collected ended.
        others_passed: no test outside the gate failed.
    """
    outcomes = {cell.outcome for cell in cells if not cell.known_failure}
    if Outcome.REGRESSION in outcomes:
        return "regression"
    if outcomes & {Outcome.NOT_EVALUATED, Outcome.RULE_BROKEN}:
        return "not evaluated"
    if Outcome.INCONCLUSIVE in outcomes:
        return "inconclusive"
    if any(cell.unexpected_pass for cell in cells):
        return "unexpected pass"
    if not complete or not others_passed:
        return "other failures" if complete else "incomplete"
    return "pass" if any(cell.area != "integrity" and cell.value is not None for cell in cells) else "nothing judged"


def read_report(path: Path) -> RunReport:
    """Read a `report.json`.

    Raises:
        ConfigError: the file cannot be read, or is not a report of this version.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a text file"
        raise ConfigError(f"{path}: cannot be read ({why}). Allowed: the report.json of --report.") from None
    try:
        return RunReport.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
    version = _version_in(text)
    if version is not None and version != VERSION:
        raise ConfigError(
            f"{path}: a report of version {version}, and this editgate reads version {VERSION}; write it again with "
            "--report=DIR."
        )
    field = ".".join(map(str, first["loc"])) or "the file"
    raise ConfigError(
        f"{path}: not a report of version {VERSION} ({field}: {first['msg']}). Allowed: the report.json of --report."
    )


def _version_in(text: str) -> object:
    """Return what a JSON text says its version is; None if it says nothing."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content.get("version") if isinstance(content, dict) else None
