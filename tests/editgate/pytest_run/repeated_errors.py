"""An error is told once: what would meet every later test stops the run, and equal ones are printed in full once."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from editgate.errors import ConfigError, StoreError

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
INCIDENTAL = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{12,}\b")  # addresses and keys


def reason_to_stop(error: BaseException) -> str:
    """Return why no further test can be evaluated; empty if others can.

    The store, the disk, and what a person named on the command line (a model, documents, texts) serve all tests alike.
    """
    for cause in _chain(error):
        full = isinstance(cause, OSError) and cause.errno in DISK
        if full or isinstance(cause, StoreError | ConfigError):
            lines = str(cause).strip().splitlines() or [type(cause).__name__]
            return f"no test after this one could be evaluated: {lines[0]}"
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def fold(reports: Sequence[pytest.TestReport]) -> None:
    """Leave the first of equal errors whole, with how many tests end with it, and point to it in the others."""
    first: dict[str, pytest.TestReport] = {}
    count: dict[str, int] = {}
    for report in reports:
        text = INCIDENTAL.sub("…", report.longreprtext)
        count[text] = count.get(text, 0) + 1
        if first.setdefault(text, report) is not report:
            report.longrepr = SeeAbove(f"the same as above: {first[text].nodeid}")  # type: ignore[assignment]
            report.sections = []
    for text, report in first.items():
        if count[text] > 1:
            report.sections = [*report.sections, ("this error", f"{count[text]} tests end with it, this one first\n")]


@dataclass(frozen=True)
class SeeAbove:
    """An error in one line, as pytest's terminal wants it."""

    text: str

    @property
    def reprcrash(self) -> SimpleNamespace:
        """What pytest's short summary says of it."""
        return SimpleNamespace(message="the same as above")

    def toterminal(self, writer: Any) -> None:  # noqa: ANN401 - pytest's private TerminalWriter
        """Write it."""
        writer.line(self.text)

    def __str__(self) -> str:
        """The line."""
        return self.text
