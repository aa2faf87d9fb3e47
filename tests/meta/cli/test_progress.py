"""While a run lasts a person sees the whole of it, the step, and what is left; in a log with the time, every 30 s."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import nn

from editgate.measure.session import EvaluationSession
from editgate.pytest_run import progress_line
from editgate.pytest_run.pace import Pace
from editgate.pytest_run.progress_line import ProgressLine, duration
from editors.core.progress import listening
from editors.core.training import train
from meta.support.gate import run_gate
from meta.support.tiny_runs import trajectory


class Stream(io.StringIO):
    """A standard error that is a terminal or not."""

    terminal = False

    def isatty(self) -> bool:
        """Return what it was told to be."""
        return self.terminal


class Clock:
    """A clock that is set by hand."""

    seconds = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Stream:
    """Standard error, as text that can be read back."""
    found = Stream()
    monkeypatch.setattr(progress_line, "sys", SimpleNamespace(stderr=found))  # pytest sets the real one in each phase
    return found


@pytest.fixture
def clock() -> Clock:
    """The clock of the line."""
    return Clock()


@pytest.fixture
def loud() -> pytest.Config:
    """The settings of a session that is not quiet and captures nothing."""
    capture = SimpleNamespace(global_and_fixture_disabled=nullcontext)
    manager = SimpleNamespace(getplugin=lambda _: capture)
    return cast("pytest.Config", SimpleNamespace(pluginmanager=manager, getoption=lambda _, default: default))


def test_a_log_gets_a_line_of_its_own_every_half_minute(stream: Stream, clock: Clock, loud: pytest.Config) -> None:
    """Nothing in the first 30 s; then whole lines with time, run, work, step and rest, never more often."""
    line = ProgressLine(loud, run=lambda _: "trajectory 3/11, about 6 min left", now=clock)
    line("memit-llama-mini: bbh after 20 edits")
    for done in range(101):
        clock.seconds = float(done)
        line.step("prompt", done, 400)
    shown = stream.getvalue()
    assert len(re.findall(r"^\d\d:\d\d:\d\d trajectory 3/11, about 6 min left · memit.*$", shown, re.MULTILINE)) == 3
    assert "bbh after 20 edits, prompt 30 of 400, 6 min left\n" in shown
    assert all(line.strip() == "" or re.match(r"\d\d:\d\d:\d\d ", line) for line in shown.splitlines())


def test_a_terminal_has_one_line_that_is_drawn_again(stream: Stream, clock: Clock, loud: pytest.Config) -> None:
    """Each draw replaces the one before; steps that follow each other at once are not all drawn, the last is."""
    stream.terminal = True
    line = ProgressLine(loud, worker="gw1", now=clock)
    clock.seconds = 1.0
    line("llama-mini: baseline of mmlu")
    for done in range(1, 401):
        line.step("prompt", done, 400)
    draws = stream.getvalue().split("\r\x1b[K")[1:]
    assert draws[0] == "[gw1] llama-mini: baseline of mmlu"
    assert draws[-1] == "[gw1] llama-mini: baseline of mmlu, prompt 400 of 400"
    assert len(draws) == 2
    assert "\n" not in stream.getvalue()


def test_the_rest_of_a_step_is_that_of_its_own_pace(stream: Stream, clock: Clock, loud: pytest.Config) -> None:
    """What was resumed counts for nothing: 10 steps in 20 s leave 80 s for 40, whatever came before."""
    stream.terminal = True
    line = ProgressLine(loud, now=clock)
    line("mend-llama-mini: preparing the editor")
    line.step("training mend: step", 50, 100)
    clock.seconds = 20.0
    line.step("training mend: step", 60, 100)
    assert stream.getvalue().endswith("preparing the editor, training mend: step 60 of 100, 80 s left")


def test_a_run_lasts_at_least_as_long_as_its_step(stream: Stream, clock: Clock, loud: pytest.Config) -> None:
    """Tests that took a second each leave 2 s; the edits that the next one waits for take longer, and that is said."""
    pace = Pace(["rome-llama-mini"])
    ids = [f"t.py::test_a[rome-llama-mini-n{n}]" for n in range(4)]
    pace.expect(ids)
    for test in ids[:2]:
        pace.began(test)
        pace.ended(test, 1.0)
    stream.terminal = True
    line = ProgressLine(loud, run=pace.describe, now=clock)
    line("rome-llama-mini: edits up to 50")
    line.step("edit", 10, 50)
    assert "test 2/4, about 2 s left" in stream.getvalue()
    clock.seconds = 30.0
    line.step("edit", 20, 50)
    assert stream.getvalue().endswith(
        "test 2/4, about 2 min left · rome-llama-mini: edits up to 50, edit 20 of 50, 2 min left"
    )


def test_each_edit_of_a_trajectory_is_told(tmp_path: Path) -> None:
    """Those that are applied, and not the questions that are asked about each."""
    run, told = trajectory(tmp_path, "ftl", layers=[1], norm_constraint=0.1), []
    run.immediate(1)
    with listening(lambda *step: told.append(step)):
        run.immediate(3)
    assert told == [("edit", done, 3) for done in (1, 2, 3)]


def test_a_training_tells_its_steps_instead_of_a_bar(capfd: pytest.CaptureFixture[str]) -> None:
    """Where somebody listens tqdm writes nothing, and every step is told."""
    network, told = nn.Linear(1, 1), []
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def loss_of(_step: int, _generator: torch.Generator) -> torch.Tensor:
        loss: torch.Tensor = network(torch.ones(1, 1)).sum()
        return loss

    with listening(lambda what, done, total: told.append((what, done, total))):
        train("mend", network, optimizer, loss_of, steps=3, seed=0, clip=1.0)
    assert told == [("training mend: step", done, 3) for done in (1, 2, 3)]
    assert capfd.readouterr().err == ""


IDS = [
    f"t.py::test_{check}[{editor}-llama-mini-n{n}]" for editor in ("rome", "memit") for n in (1, 2) for check in "ab"
]


def test_the_run_is_estimated_from_what_its_kinds_of_tests_took() -> None:
    """A kind that took 100 s takes 100 s again, one that took 1 s takes 1 s; workers share the rest."""
    pace = Pace(["rome-llama-mini", "memit-llama-mini"])
    assert pace.describe() == ""
    pace.expect([*IDS, "t.py::test_of_something_else"])
    for test, seconds in zip(IDS[:4], (100.0, 1.0, 100.0, 1.0), strict=True):
        pace.began(test)
        assert pace.describe().startswith("trajectory 1/2")
        pace.ended(test, seconds)
    assert pace.seconds_left() == pytest.approx(202)
    pace.began(IDS[4])
    assert pace.describe() == "trajectory 2/2, about 3 min left"
    pace.expect(IDS, workers=2)
    pace.ended(IDS[0], 100.0)
    pace.ended(IDS[1], 1.0)
    assert pace.seconds_left() == pytest.approx(303 / 2)


def test_one_trajectory_is_counted_in_tests() -> None:
    """`trajectory 1/1` would say nothing."""
    pace = Pace(["rome-llama-mini"])
    pace.expect(IDS[:4])
    pace.began(IDS[0])
    assert pace.describe() == "test 0/4"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.1, "1 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (9000, "2.5 h")]
)
def test_durations_are_as_people_say_them(seconds: float, words: str) -> None:
    """Seconds, minutes, hours."""
    assert duration(seconds) == words


def test_the_gate_shows_the_run_and_the_step(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is announced while a test of the gate runs stands beside how far the run is, past pytest's capturing."""
    monkeypatch.setattr(progress_line, "LOG_SECONDS", 0.0)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # a worker would begin the line with its name

    def trajectory(session: EvaluationSession, *_: object, **__: object) -> Iterator[None]:
        session.announce("loading llama-mini")
        raise KeyError

    monkeypatch.setattr(EvaluationSession, "trajectory", trajectory)
    result = run_gate(pytester, "--edit-counts=1", "-k", "memit and mmlu", files=("capability",))
    result.stderr.re_match_lines([r"\d\d:\d\d:\d\d test 0/1 · loading llama-mini$"])
