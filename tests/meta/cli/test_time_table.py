"""`--durations` also says where the time of a run went, of all its processes."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from contextvars import Context
from types import SimpleNamespace

import pytest

from editgate.measure.time_spent import Spent, keeping, spending
from meta.cli.test_folders import run
from meta.support.gate import run_gate

SLEEPS = """
    import time
    from editgate.measure.time_spent import keeping, spending

    def test_one(request):
        with keeping(request.config.pluginmanager.get_plugin("editgate-time-table").spent), spending("sleeping"):
            time.sleep(1.1)
"""


def told(lines: list[str]) -> dict[str, float]:
    """Seconds by kind of work, from the printed table."""
    found = (re.fullmatch(r" *(\d+\.\d)s +\d+%  (.+)", line) for line in lines)
    return {match[2]: float(match[1]) for match in found if match}


def test_a_second_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is inside another kind of work is taken from it, also after an error."""
    spent, clock = Spent(), iter((0.0, 1.0, 4.0, 9.0))

    def work() -> None:
        with keeping(spent), spending("asking"), suppress(ZeroDivisionError), spending("editing"):
            raise ZeroDivisionError
        with spending("nobody keeps this"):
            pass

    monkeypatch.setattr("editgate.measure.time_spent.time", SimpleNamespace(monotonic=lambda: next(clock)))
    Context().run(work)  # an empty one: the gate's own tests in this process keep their time in the present one
    assert spent.seconds == {"asking": 6.0, "editing": 3.0}


def test_the_gate_says_where_its_time_went(pytester: pytest.Pytester) -> None:
    """A line for each kind of work, which together are all the time; without `--durations` there is none."""
    options = ("--model=pythia-mini-s", "--edit-counts=1", "--limit=5", "-k", "ftl and (mmlu or efficacy)")
    began = time.monotonic()
    result = run_gate(pytester, *options, "--durations=1")
    lasted, found = time.monotonic() - began, told(result.outlines)
    assert found.keys() >= {"starting and collecting", "asking mmlu", "editing", "asking about edits", "checking rules"}
    total = found.pop("all processes together")
    assert total == pytest.approx(sum(found.values()), abs=0.05 * len(found) + 0.05)
    assert 0.5 * lasted < total < lasted
    assert not told(run_gate(pytester, *options).outlines)


def test_the_time_of_workers_is_added_up(pytester: pytest.Pytester) -> None:
    """Two workers that each spend a second on something have spent two; the process that waits for them none."""
    pytester.makepyfile(test_one=SLEEPS, test_two=SLEEPS)
    pytester.makeini("[pytest]\n")
    found = told(run(pytester.path, "-n", "2", "--durations=1").stdout.splitlines())
    assert 2.2 <= found["sleeping"] < 2.6
