"""What a person sees while workers work."""

from __future__ import annotations

import re
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from editgate.plan.tasks import Task
from editgate.ray_run.board import Board
from editgate.ray_run.schedule import Schedule, Worker

TASKS = [Task("score", "m", what=f"b{number}") for number in range(6)] + [Task("prepare", "m", "e", "e-m")]
WORKER = Worker("w", "n")


@pytest.fixture
def schedule() -> Schedule:
    """Six benchmarks and a preparation; one worker."""
    made = Schedule(TASKS, lambda task: 2.0 if task.kind == "score" else 10.0)
    made.joined(WORKER)
    return made


def test_each_kind_has_a_line_with_what_is_left(schedule: Schedule, pytestconfig: pytest.Config) -> None:
    """Time left comes from what tasks of that kind took, and is said once three have ended."""
    board = Board(pytestconfig, schedule, schedule.seconds)
    for ended in range(1, 4):
        task = schedule.next(WORKER)
        assert task is not None
        assert task.kind == "score"
        schedule.done(WORKER)
        board.ended(task.id, 20.0)
        assert ("left" in board.lines(1)[2]) == (ended == 3)
    schedule.next(WORKER)
    assert board.lines(2) == [
        "Ray: 2 workers, 4 tasks left",
        "prepare: 0 done, 0 running, 1 waiting",
        "score: 3 done, 1 running, 2 waiting, about 30 s left",
    ]


def test_what_has_no_number_is_told_apart(schedule: Schedule, pytestconfig: pytest.Config) -> None:
    """It is neither done nor waiting."""
    schedule.next(WORKER)
    schedule.refused(WORKER, "no items")
    assert (
        Board(pytestconfig, schedule, schedule.seconds).lines(1)[2] == "score: 0 done, 0 running, 5 waiting, 1 refused"
    )


def test_a_log_gets_a_line_every_half_minute(
    schedule: Schedule, capsys: pytest.CaptureFixture[str], pytestconfig: pytest.Config
) -> None:
    """With the time, and none in between."""
    clock = [0.0]
    board = Board(pytestconfig, schedule, schedule.seconds, lambda: clock[0])
    board._silent, board._draws = False, False
    board._capture = SimpleNamespace(global_and_fixture_disabled=nullcontext)  # what is written is looked at here
    for second in range(95):
        clock[0] = float(second)
        board.show(1)
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 3
    assert re.match(r"\d\d:\d\d:\d\d Ray: 1 worker, 7 tasks left · prepare: 0 done", lines[0])
