"""A traceback is for whoever can fix the error: of what we raise on purpose only somebody else's frames are shown."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType

import pytest

import editgate
import editors
from editgate import inert
from editgate.compat.pytest import crash_of, drop_traceback, restore_crash
from editgate.errors import ConfigError, EditgateError, StoreError
from editors import EditorError

OURS = (Path(editors.__file__).parent, Path(editgate.__file__).parent)


def shown(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Wrap the making of a report: an error of ours shows only the exceptions that it came from, without our frames.

    What was asked for wrongly, and what the disk refuses, is said in a sentence: there is nothing to look for in code.
    `--full-trace` shows everything.
    """
    found, crash = call.excinfo, None
    if found is not None and isinstance(found.value, EditgateError | EditorError) and not item.config.option.fulltrace:
        if isinstance(found.value, EditorError):  # it quotes edits, and messages of somebody else's code
            found.value.args = (inert.lines(str(found.value)),)
        crash = crash_of(found)
        if isinstance(found.value, ConfigError | StoreError):
            found.value.__cause__, found.value.__suppress_context__ = None, True
        for error in _causes(found.value):
            error.__traceback__ = _without_ours(error.__traceback__)
        drop_traceback(found)
    report = yield
    restore_crash(report, crash)
    return report


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    if trace is None:
        return None
    rest = _without_ours(trace.tb_next)
    file = Path(trace.tb_frame.f_code.co_filename)
    if any(file.is_relative_to(place) for place in OURS):
        return rest
    return TracebackType(rest, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
