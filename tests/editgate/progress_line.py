"""Tells a person what is going on while tests run, also from xdist's workers: one line, rewritten on a terminal."""

from __future__ import annotations

import sys
import time

import pytest

from editgate import inert

QUIET_SECONDS = 5.0  # without a terminal, lines come at most this often


class ProgressLine:
    """Writes to the real standard error, past pytest's capturing.

    Args:
        config: of the session; its capture manager is switched off while a line is written.
        worker: the xdist worker's name, empty without xdist.
    """

    def __init__(self, config: pytest.Config, worker: str = "") -> None:
        self._capture = config.pluginmanager.getplugin("capturemanager")
        self._prefix = f"[{worker}] " if worker else ""
        self._silent = bool(config.getoption("quiet", 0))
        self._last = 0.0

    def __call__(self, what: str) -> None:
        """Show `what`, replacing what was shown before where the terminal can."""
        if self._silent:
            return
        what = inert.terminal(what)
        with self._capture.global_and_fixture_disabled():
            if sys.stderr.isatty():
                sys.stderr.write(f"\r\x1b[K{self._prefix}{what}")
            elif time.monotonic() - self._last > QUIET_SECONDS:
                sys.stderr.write(f"\n{self._prefix}{what} ")
                self._last = time.monotonic()
            sys.stderr.flush()
