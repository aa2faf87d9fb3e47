"""`report.json`: everything that the report shows, validated, versioned, and readable again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from editgate.errors import ConfigError
from editgate.report.conclusion import Conclusion, Result
from editgate.report.trajectory_summary import TrajectorySummary
from editgate.verdict.outcome import Cell

VERSION: Literal[3] = 3
Record = TypeVar("Record", bound=BaseModel)
DIGITS = 10  # of a number in a file, significant ones: more are noise of binary arithmetic


def _encodable(text: Any) -> Any:  # noqa: ANN401 - whatever is given
    r"""Return a text that UTF-8 can hold: bytes of a command line or file name that are none are `\udcff` there."""
    return text.encode("utf-8", "backslashreplace").decode() if isinstance(text, str) else text


Text = Annotated[str, BeforeValidator(_encodable)]  # of a command line, a file's name, or a message with either


class Subject(BaseModel):
    """What the run was about.

    Attributes:
        model: name and digest of the weights.
        editors: their names.
        edits: name or file of the edits, their order, and the size of batches.
        skipped_edits: records of that file that hold no edit, and why.
        counts: the requested Ns.
        batch_size: how many edits were applied at once.
        items: how many items a benchmark.
        conditions: dtype and device.
        command: the command line.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Text
    editors: tuple[Text, ...]
    edits: Text
    counts: tuple[int, ...]
    items: str
    conditions: str
    command: Text
    skipped_edits: tuple[Text, ...] = ()
    batch_size: int = 1

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

    test: Text
    reason: Text


class RunReport(BaseModel):
    """One run.

    Attributes:
        version: of this schema; 3 put `conclusion` in the place of `result`.
        created: when the report was written, UTC, ISO 8601.
        ended: "complete", or why the run ended early.
        ran: number of tests that ended.
        collected: number of tests that were to run.
        conclusion: how the run ended: its word, counts, exit code and reason.
        safety: the sentence about safety.
        subject: what the run was about.
        budgets: one summary per trajectory.
        cells: one per gate test.
        problems: other tests that failed.
        changes: what changed since the report of `--compare`, in words.
        findings: what `--findings` measured, each a text with a table.
        commit: of the directory in which pytest was started, with `+` if files were changed; empty if unknown.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    version: Literal[3] = VERSION
    created: str
    ended: str
    ran: int
    collected: int
    conclusion: Conclusion
    safety: str
    subject: Subject
    budgets: tuple[TrajectorySummary, ...]
    cells: tuple[Cell, ...]
    problems: tuple[Problem, ...]
    changes: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    commit: str = ""

    @property
    def result(self) -> Result:
        """How the run ended, in one word or two."""
        return self.conclusion.result

    @model_serializer(mode="wrap")
    def _without_noise(self, serialize: SerializerFunctionWrapHandler) -> Any:  # noqa: ANN401 - as pydantic types it
        return without_noise(serialize(self))


def without_noise(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return the same value with every number cut to `DIGITS` significant digits: 0.03, not 0.030000000000000027."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: without_noise(each) for key, each in value.items()}
    return [without_noise(each) for each in value] if isinstance(value, list | tuple) else value


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
    return parsed(RunReport, text, str(path), "a report", whole="the file", allowed="the report.json of --report")


def parsed(record: type[Record], text: str, place: str, what: str, *, whole: str, allowed: str) -> Record:
    """Return the record that a JSON text holds.

    Args:
        record: its type, with a field `version`.
        text: JSON.
        place: where the text stands.
        what: what it should be, with its article.
        whole: what is wrong if no field is.
        allowed: what may stand there.

    Raises:
        ConfigError: it is of another version, or not such a record; names the place and the field.
    """
    try:
        return record.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
    version, ours = _version_in(text), record.model_fields["version"].default
    if version is not None and version != ours:
        raise ConfigError(
            f"{place}: {what} of version {version}, and this editgate reads version {ours}; write it again with "
            "--report=DIR."
        )
    field = ".".join(map(str, first["loc"])) or whole
    raise ConfigError(f"{place}: not {what} of version {ours} ({field}: {first['msg']}). Allowed: {allowed}.")


def _version_in(text: str) -> object:
    """Return what a JSON text says its version is; None if it says nothing."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content.get("version") if isinstance(content, dict) else None
