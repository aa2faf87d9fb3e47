"""Tells a person what is going on while tests run, also from xdist's workers: one line, rewritten on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime

import pytest

from editgate import inert

LOG_SECONDS = 30.0  # without a terminal a line comes this often, with the time
DRAW_SECONDS = 0.2  # on one it is drawn at most this often
SURE_SECONDS = 2.0  # what a step has lasted before its rest is estimated


class ProgressLine:
    """Writes to the real standard error, past pytest's capturing: the run, the step, how far it is, what is left.

    Args:
        config: of the session; its capture manager is switched off while a line is written.
        worker: the xdist worker's name, empty without xdist.
        run: returns how far the whole run is, in words, given the seconds that the present step will last.
        now: a clock, in seconds.
    """

    def __init__(
        self,
        config: pytest.Config,
        worker: str = "",
        run: Callable[[float], str] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capture = config.pluginmanager.getplugin("capturemanager")
        self._prefix = f"[{worker}] " if worker else ""
        self._silent = bool(config.getoption("quiet", 0))
        self._run, self._now = run, now
        self._what = self._step = ""
        self._began, self._done = now(), 0
        with self._capture.global_and_fixture_disabled():
            self._draws = sys.stderr.isatty()
        self._last = -DRAW_SECONDS if self._draws else now()

    def __call__(self, what: str) -> None:
        """Show `what`, replacing what was shown before where the terminal can."""
        self._what, self._step = what, ""
        self._show()

    def note(self, *lines: str) -> None:
        """Write whole lines that stay, whatever is shown before and after them."""
        if self._silent or not lines:
            return
        start = "\r\x1b[K" if self._draws else "\n"
        with self._capture.global_and_fixture_disabled():
            sys.stderr.write(start + "".join(f"{self._prefix}{inert.terminal(line)}\n" for line in lines))
            sys.stderr.flush()

    def step(self, what: str, done: int, total: int) -> None:
        """Show how many steps of the current work are done, and what the rest of them will take."""
        if what != self._step or done < self._done:
            self._step, self._began, self._done = what, self._now(), done
        lasted, ahead = self._now() - self._began, total - done
        seconds = 0.0
        if ahead and done > self._done and lasted > SURE_SECONDS:
            seconds = lasted / (done - self._done) * ahead
        left = f", {duration(seconds)} left" if seconds else ""
        self._show(f", {what} {done} of {total}{left}", seconds, often=done < total)

    def _show(self, step: str = "", seconds: float = 0.0, *, often: bool = False) -> None:
        if self._silent:
            return
        now = self._now()
        if now - self._last < ((DRAW_SECONDS if often else 0.0) if self._draws else LOG_SECONDS):
            return
        self._last = now
        line = inert.terminal(
            " · ".join(filter(None, (self._run(seconds) if self._run else "", f"{self._what}{step}")))
        )
        with self._capture.global_and_fixture_disabled():
            if self._draws:
                sys.stderr.write(f"\r\x1b[K{self._prefix}{line}")
            else:
                clock = datetime.now().astimezone().strftime("%H:%M:%S")
                sys.stderr.write(f"\n{clock} {self._prefix}{line}\n")
            sys.stderr.flush()


def duration(seconds: float) -> str:
    """Return a time as people say it: `40 s`, `6 min`, `2.5 h`."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
