"""Reasons that EasyEdit prints: `assert ok or print(why)` raises an AssertionError without a message."""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO


@contextmanager
def printed_reasons() -> Iterator[None]:
    """In the block an AssertionError without a message gets the line printed for it, or else the assertion's source.

    Raises:
        AssertionError: As the block raised it, with a message.
    """
    heard = _Heard(sys.stdout)
    try:
        with redirect_stdout(heard):  # type: ignore[type-var]  # it has all that a stream has
            yield
    except AssertionError as error:
        if str(error).strip() not in ("", "None"):
            raise
        asserted = _asserted(error)
        raise AssertionError(heard.last if "print(" in asserted and heard.last else asserted) from error


class _Heard:
    """A stream that passes everything on, and remembers the last line that said something."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.last = ""

    def write(self, text: str) -> int:
        said = [line.strip() for line in text.splitlines() if line.strip()]
        self.last = said[-1] if said else self.last
        return self._stream.write(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def _asserted(error: AssertionError) -> str:
    """The assertion as it stands in the source."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    first, last = frame.lineno or 1, frame.end_lineno or frame.lineno or 1
    lines = [linecache.getline(frame.filename, number).strip() for number in range(first, last + 1)]
    while lines and "assert" not in lines[0] and first > 1:
        first -= 1
        lines.insert(0, linecache.getline(frame.filename, first).strip())
    return " ".join(lines)
