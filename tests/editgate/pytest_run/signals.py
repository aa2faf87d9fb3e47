"""A run that is told to end (SIGTERM, as CI does) ends as after Ctrl-C: with its report and exit code 2."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeAlias

import pytest

ENDING = (signal.SIGINT, signal.SIGTERM)
Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


def end_with_a_report(config: pytest.Config) -> None:
    """Let SIGTERM interrupt the session as SIGINT does; whichever comes second ends the process at once.

    Handlers that somebody else has set stay; so does everything outside the main thread and in xdist's workers.
    """
    if threading.current_thread() is not threading.main_thread() or hasattr(config, "workerinput"):
        return
    untouched: dict[int, Handler] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    ours = [number for number, default in untouched.items() if signal.getsignal(number) == default]
    for number in ours:
        signal.signal(number, _interrupt)

    def give_back() -> None:
        for number in ours:
            signal.signal(number, untouched[number])

    config.add_cleanup(give_back)


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
    for each in ENDING:
        signal.signal(each, signal.SIG_DFL)
    raise Terminated("SIGTERM") if number == signal.SIGTERM else KeyboardInterrupt
