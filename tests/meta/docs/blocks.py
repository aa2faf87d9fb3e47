"""The code blocks of a page, and the HTML comment before each that says how it is tested.

Of commands and Python:

    <!-- run in PLACE -->                  runs as it stands; PLACE is a key of `places.PLACES`
    <!-- run in PLACE, nightly, exit 1 --> at night only; ends with that exit code (0 if none is named)
    <!-- run in PLACE, each, exit 0 or 1 --> its lines are alternatives: all run, and each ends with one of those codes
    <!-- write to FILE in PLACE -->        the reader's own file
    <!-- not run: REASON -->               cannot run in a test

Of what they print:

    <!-- printed from "A" to "B" --> the lines from the first that begins with A to the next that begins with B
    <!-- printed from "A" to "B", as a curve --> the same; numbers may drift as those of a recorded curve
    <!-- printed last --> the last line

A block that has a file's name above it is real code (`markdown.file_blocks`), and needs no comment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

BLOCK = re.compile(
    r"(?P<named>^`[\w./-]+`(?:, in `\w+`)?\n\n)?(?:^<!-- (?P<said>[^>]*?) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
RUN = re.compile(r"run in (\w+)((?:, (?:nightly|each|exit \d+(?: or \d+)*))*)")
WRITE = re.compile(r"write to ([\w./-]+) in (\w+)")
NOT_RUN = re.compile(r"not run: (\S.*)", re.DOTALL)
PRINTED = re.compile(r'printed (?:last|from "([^"]+)" to "([^"]+)"(, as a curve)?)')


@dataclass(frozen=True)
class Run:
    """The block runs.

    Attributes:
        place: the directory, by its name in `places.PLACES`.
        nightly: it costs minutes.
        each: its lines are alternatives; all of them run, whatever the one before ended with.
        codes: the exit codes that it, or each of its lines, may end with.
    """

    place: str
    nightly: bool = False
    each: bool = False
    codes: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Write:
    """The block is a file of the reader's, in a place."""

    file: str
    place: str


@dataclass(frozen=True)
class NotRun:
    """The block cannot run in a test, for this reason."""

    reason: str


@dataclass(frozen=True)
class Printed:
    """The block is what the last command block printed, between two lines that begin so; without them the last line."""

    first: str
    last: str
    as_curve: bool = False


Directive: TypeAlias = Run | Write | NotRun | Printed


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: the page's path in the repository.
        line: where its fence opens, from 1.
        start, end: where its text stands in the page.
        language: the word after the fence, or "".
        text: its lines.
        named: there is a file's name above it.
        said: the comment before it, or "".
    """

    page: str
    line: int
    start: int
    end: int
    language: str
    text: str
    named: bool
    said: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def directive(self) -> Directive | None:
        """What the comment says; None without one.

        Raises:
            ValueError: The comment is none of those that `blocks` lists.
        """
        said = " ".join(self.said.split())
        if not said:
            return None
        if found := RUN.fullmatch(said):
            codes = tuple(int(code) for code in re.findall(r"\d+", found[2]))
            return Run(found[1], "nightly" in found[2], "each" in found[2], codes or (0,))
        if found := WRITE.fullmatch(said):
            return Write(*found.groups())
        if found := NOT_RUN.fullmatch(said):
            return NotRun(found[1])
        if found := PRINTED.fullmatch(said):
            return Printed(found[1] or "", found[2] or "", as_curve=bool(found[3]))
        raise ValueError(f"{self}: '{said}' is no comment that a block can have: see tests/meta/docs/blocks.py")


def blocks(page: str, text: str) -> list[Block]:
    """Return all fenced blocks of a page, from top to bottom."""
    return [
        Block(
            page=page,
            line=text.count("\n", 0, found.start("language")) + 1,
            start=found.start("text"),
            end=found.end("text"),
            language=found["language"],
            text=found["text"],
            named=found["named"] is not None,
            said=found["said"] or "",
        )
        for found in BLOCK.finditer(text)
    ]
