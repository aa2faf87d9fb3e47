"""What a person sees while workers work: a line for each kind of task."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime

import pytest

from editgate import inert
from editgate.plan.tasks import KINDS, Task
from editgate.pytest_run.progress_line import DRAW_SECONDS, LOG_SECONDS, duration
from editgate.ray_run.schedule import Schedule, State

SURE = 3  # tasks of a kind that must have ended before the rest of it is estimated by what they took


class Board:
    """Writes to the real standard error, past pytest's capturing: rewritten on a terminal, else now and then one line.

    Args:
        config: of the session.
        schedule: what is left.
        seconds: what a task is expected to take.
        now: a clock, in seconds.
    """

    def __init__(
        self,
        config: pytest.Config,
        schedule: Schedule,
        seconds: Callable[[Task], float],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capture = config.pluginmanager.getplugin("capturemanager")
        self._silent = bool(config.getoption("quiet", 0))
        self._schedule, self._now = schedule, now
        self._expected = {task.id: (task.kind, seconds(task)) for task in schedule.tasks}
        self._all, self._ended, self._took, self._number = (
            Counter[str](),
            Counter[str](),
            Counter[str](),
            Counter[str](),
        )
        for kind, expected in self._expected.values():
            self._all[kind] += expected  # type: ignore[assignment]  # seconds are counted too
        with self._capture.global_and_fixture_disabled():
            self._draws = sys.stderr.isatty()
        self._last = -DRAW_SECONDS if self._draws else now()
        self._drawn = 0

    def ended(self, task: str, took: float) -> None:
        """Note that a task has ended, and what it took."""
        kind, expected = self._expected[task]
        self._ended[kind] += expected  # type: ignore[assignment]
        self._took[kind] += took  # type: ignore[assignment]
        self._number[kind] += 1

    def show(self, workers: int, *, last: bool = False) -> None:
        """Show how far it is, if it is time to."""
        now = self._now()
        if self._silent or (not last and now - self._last < (DRAW_SECONDS if self._draws else LOG_SECONDS)):
            return
        self._last = now
        lines = [inert.terminal(line) for line in self.lines(workers)]
        with self._capture.global_and_fixture_disabled():
            if self._draws:
                up = f"\x1b[{self._drawn}A" if self._drawn else ""
                sys.stderr.write(up + "".join(f"\r\x1b[K{line}\n" for line in lines))
                self._drawn = len(lines)
            else:
                clock = datetime.now().astimezone().strftime("%H:%M:%S")
                sys.stderr.write(f"\n{clock} {' · '.join(lines)}\n")
            sys.stderr.flush()

    def lines(self, workers: int) -> list[str]:
        """Return a line for the workers, and one for each kind of task that there is."""
        counts = self._schedule.counts
        told = [f"Ray: {workers} worker{'' if workers == 1 else 's'}, {self._schedule.left} tasks left"]
        for kind in KINDS:
            number = {state: counts[kind, state] for state in State}
            if not any(number.values()):
                continue
            waiting = number[State.WAITING] + number[State.READY]
            words = {"done": number[State.DONE], "running": number[State.RUNNING], "waiting": waiting}
            words |= {
                state.value: number[state] for state in (State.REFUSED, State.POISONED, State.LEFT_OUT) if number[state]
            }
            line = f"{kind}: " + ", ".join(f"{count} {word}" for word, count in words.items())
            left = self._left(kind) if waiting + number[State.RUNNING] else None
            told.append(line if left is None else f"{line}, about {duration(left / max(1, workers))} left")
        return told

    def _left(self, kind: str) -> float | None:
        """Return the seconds of one worker that the rest of a kind will take, by what the ended ones took."""
        if self._number[kind] < SURE or not self._ended[kind]:
            return None
        return (self._all[kind] - self._ended[kind]) * self._took[kind] / self._ended[kind]
