"""`items.jsonl`: every item that got worse, one a line, with the question, both answers and the right one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from editgate.errors import ConfigError
from editgate.report.conclusion import Standing, standing
from editgate.report.run_report import RunReport, parsed

VERSION: Literal[1] = 1
ALLOWED = "the items.jsonl beside a report.json"


class FlippedItem(BaseModel):
    """One item that got worse; of a quality, one prompt that is not answered as it should be.

    Attributes:
        version: of this schema.
        trajectory: such as `memit-llama-mini`.
        check: the benchmark or quality.
        area: capability, safety or quality.
        edits: after how many edits.
        standing: what the benchmark's verdict is to the gate, such as `regression` or `known`.
        task: lm-eval's own (leaf) task; for a quality its name.
        item: lm-eval's hash of the document; empty for a quality.
        question: enough of it for a person to recognize it; for a quality the prompt.
        expected: what would have been right.
        before: what the unedited model answered; for a quality what the model answered right after the edit.
        now: what the edited one answers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = VERSION
    trajectory: str
    check: str
    area: str
    edits: int
    standing: Standing
    task: str
    item: str
    question: str
    expected: str
    before: str
    now: str


def flipped_items(report: RunReport) -> Iterator[FlippedItem]:
    """Yield the items of all cells, in the order of the cells."""
    for cell in report.cells:
        for flip in cell.flips:
            yield FlippedItem(
                trajectory=cell.trajectory,
                check=cell.check,
                area=cell.area,
                edits=cell.edits,
                standing=standing(cell),
                task=flip.task,
                item=flip.item,
                question=flip.question,
                expected=flip.expected,
                before=flip.before,
                now=flip.now,
            )


def as_lines(report: RunReport) -> str:
    """Return the whole file."""
    return "".join(item.model_dump_json() + "\n" for item in flipped_items(report))


def read_items(path: Path) -> list[FlippedItem]:
    """Read an `items.jsonl`.

    Raises:
        ConfigError: the file cannot be read, or a line is not an item of this version.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # not splitlines: answers may hold U+2028
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a text file"
        raise ConfigError(f"{path}: cannot be read ({why}). Allowed: {ALLOWED}.") from None
    return [
        parsed(FlippedItem, line, f"{path}, line {number}", "an item", whole="the line", allowed=ALLOWED)
        for number, line in enumerate(lines, start=1)
        if line
    ]
