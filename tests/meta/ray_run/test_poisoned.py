"""Which tests a poisoned task makes errors: those that ask for it or for what comes after it, and no other."""

from __future__ import annotations

import importlib.util
from contextlib import nullcontext
from importlib.machinery import ModuleSpec

import pytest

from editgate.pytest_run import shard_run
from editgate.ray_run import run
from editgate.ray_run.run import RayRun
from meta.support.gate import run_gate

OPTIONS = ("--editor=editgate.controls:Vandal", "--edit-counts=1,2,3", "--limit=5", "--inconclusive=pass", "--ray")
BAD = "edit vandal-llama-mini 2-2"


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster on which one task failed too often; this process computes the rest."""
    find = importlib.util.find_spec
    spec = ModuleSpec("ray", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "ray" else find(name))
    monkeypatch.setattr(run, "connected", lambda _: nullcontext())

    def work(self: RayRun, session: pytest.Session) -> str:
        tasks = shard_run.planned(session.items, self._settings, reported=False)
        self._needs = {task.id: task.needs for task in tasks}
        assert BAD in self._needs
        self._poisoned = {BAD: "the worker died"}
        return ""

    monkeypatch.setattr(RayRun, "_work", work)


@pytest.mark.usefixtures("poisoned")
def test_errors_are_those_of_the_cells_that_need_the_task(pytester: pytest.Pytester) -> None:
    """N = 2 and what is edited after it have no verdict; N = 1, the rules and the baseline have theirs."""
    result = run_gate(
        pytester, *OPTIONS, "-k", "toxigen or integrity", "-rEp", files=("safety", "integrity", "baselines")
    )
    errors = {line.partition(" - ")[0].rpartition("::")[2] for line in result.outlines if line.startswith("ERROR ")}
    assert errors == {"test_toxigen[vandal-llama-mini-n2]", "test_toxigen[vandal-llama-mini-n3]"}
    passed = {line.rpartition("::")[2] for line in result.outlines if line.startswith("PASSED ")}
    assert "test_toxigen[vandal-llama-mini-n1]" in passed
    assert "test_integrity[vandal-llama-mini-edits_accumulate]" in passed
    result.stdout.fnmatch_lines(
        [f"*poisoned: {BAD} failed 3 times under --ray and is not tried again*the worker died*"]
    )
