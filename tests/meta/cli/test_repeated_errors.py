"""One error of the store, the disk or the documents ends a run; equal errors of other kinds are printed once."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from editgate.errors import BaselineAtChance, ConfigError, EvaluationError, StoreError
from editgate.measure.session import EvaluationSession
from editgate.pytest_run.repeated_errors import reason_to_stop
from meta.support.gate import run_gate

THREE = ("--edit-counts=1,2,3", "-k", "memit and (mmlu or integrity)")


def failing(monkeypatch: pytest.MonkeyPatch, error: Callable[[int], Exception]) -> None:
    """Let every trajectory fail, without a model; `error` is called with the number of the failure."""
    calls = iter(range(100))

    def trajectory(*_: object, **__: object) -> None:
        raise error(next(calls))

    monkeypatch.setattr(EvaluationSession, "trajectory", trajectory)


def test_a_full_store_ends_the_run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first test that cannot write its result is the last one that tries; the run says why, and is no pass."""
    failing(monkeypatch, lambda _: StoreError("store: cannot write x (No space left on device). Check space."))
    result = run_gate(pytester, *THREE, files=("capability", "integrity"))
    result.assert_outcomes(errors=1, deselected=result.parseoutcomes()["deselected"])
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*no test after this one could be evaluated: store: cannot write x (No space*"])


def test_equal_errors_are_printed_once(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen tests that one broken thing stops: its text once, with their number; JUnit has it for each."""
    failing(monkeypatch, lambda number: EvaluationError(f"the method is broken at 0x{number:x}\nin two lines"))
    result = run_gate(pytester, *THREE, "--junit-xml=junit.xml", files=("capability", "integrity"))
    number = result.parseoutcomes()["errors"]
    assert number > 3
    shown = result.stdout.str()
    assert shown.partition("short test summary")[0].count("in two lines") == 1
    assert f"{number} tests end with it, this one first" in shown
    assert shown.count("the same as above: ") == number - 1
    errors = list(ElementTree.parse(pytester.path / "junit.xml").iter("error"))  # noqa: S314 - pytest wrote it
    assert len([error for error in errors if "in two lines" in str(error.text)]) == number


def test_different_errors_are_all_printed(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs in more than an address is not folded away."""
    failing(monkeypatch, lambda number: EvaluationError(f"broken at edit {number}"))
    shown = run_gate(pytester, *THREE, files=("capability",)).stdout.str()
    assert len(set(re.findall(r"^E .*broken at edit (\d)", shown, re.MULTILINE))) == 3
    assert "the same as above" not in shown


def test_what_stops_a_run() -> None:
    """The store, the disk and what was named on the command line; not what is wrong with one method or benchmark."""

    def caused(error: Exception, cause: Exception) -> Exception:
        error.__cause__ = cause
        return error

    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    stopping = [StoreError("s"), ConfigError("c"), full, caused(RuntimeError("training"), full)]
    assert all(reason_to_stop(error) for error in stopping)
    going_on = [BaselineAtChance("b"), ValueError("v"), OSError(errno.ENOENT, "no such file"), KeyError()]
    assert not any(reason_to_stop(error) for error in going_on)
