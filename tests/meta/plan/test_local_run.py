"""What becomes of a list of tasks in one process: errors leave out what comes after them, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from editgate.cases import Case
from editgate.errors import EditHadNoEffect, EditsDoNotAccumulate, EvaluationError, StoreError
from editgate.measure.session import EvaluationSession
from editgate.plan import costs, local_run
from editgate.plan.costs import Took
from editgate.plan.from_cases import plan
from editgate.plan.local_run import Report
from editgate.plan.tasks import Task
from meta.support.settings_factory import miniature, settings

RULE = "check memit-llama-mini edits_accumulate"
ALONE = "check memit-llama-mini edits_change_the_model"
SCORE = "score memit-llama-mini n5 mmlu"
AFTER = ["edit memit-llama-mini 1-5", SCORE, "measure memit-llama-mini n5 weight norms"]


def _run(store: Path, raised: Mapping[str, Exception], patch: pytest.MonkeyPatch) -> tuple[Report, list[str]]:
    """Run the tasks of two methods, with a `work` that writes an entry a task, or raises; return what was tried."""
    chosen = settings(store, limit=20)
    model = miniature(chosen)
    cases = [
        *(Case(chosen.editor(name), model, "mmlu", 5, chosen.benchmarks) for name in ("memit", "rome")),
        Case(chosen.editor("memit"), model, "edits_change_the_model"),
    ]
    session = local_run.with_recording_store(EvaluationSession(chosen, lambda _: None))
    tried: list[str] = []

    def work(task: Task, given: EvaluationSession) -> None:
        tried.append(task.id)
        if task.id in raised:
            raise raised[task.id]
        if given.settings.store.load_json("toy", task.id) is None:
            given.settings.store.save_json("toy", task.id, 1)

    patch.setattr(local_run, "work", work)
    return local_run.run(plan(cases, chosen), session), tried


def test_what_is_there_is_told_from_what_was_worked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run works everything, the second finds all of it; both are told by kind."""
    first, tried = _run(tmp_path, {}, monkeypatch)
    second, _ = _run(tmp_path, {}, monkeypatch)
    assert sum(first.worked.values()) == len(tried) == sum(second.there.values())
    assert not first.there
    assert not second.worked
    assert "edit: 2 worked, 0 were there" in first.lines()


def test_a_broken_rule_leaves_out_what_it_makes_meaningless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Edits and scores of that method are not tried, as in the run that judges; the other method's are."""
    report, tried = _run(tmp_path, {RULE: EditsDoNotAccumulate("only the last")}, monkeypatch)
    assert report.left_out == AFTER
    assert report.refused == {RULE: "EditsDoNotAccumulate: only the last"}
    assert not report.broken
    assert {"edit rome-llama-mini 1-5", "score rome-llama-mini n5 mmlu"} < {*tried}


def test_a_rule_that_fails_alone_leaves_out_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That an editor changes nothing is its own test's failure."""
    report, tried = _run(tmp_path, {ALONE: EditHadNoEffect("nothing")}, monkeypatch)
    assert report.left_out == []
    assert {*AFTER} < {*tried}


def test_what_may_go_right_another_time_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full memory is broken, and the exit code says so; that there is no number is for the judge to say."""
    raised = {SCORE: MemoryError("full"), "score rome-llama-mini n5 mmlu": EvaluationError("no items")}
    report, _ = _run(tmp_path, raised, monkeypatch)
    assert report.broken == {SCORE: "MemoryError: full"}
    assert report.refused == {"score rome-llama-mini n5 mmlu": "EvaluationError: no items"}


def test_a_store_that_fails_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No task after it is tried: nothing could be kept."""
    report, tried = _run(tmp_path, {RULE: StoreError("store: cannot write")}, monkeypatch)
    assert tried[-1] == RULE
    assert "store: cannot write" in report.stopped


def test_seconds_are_kept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worked task leaves a record with its size, and a second run adds none."""
    _run(tmp_path, {}, monkeypatch)
    store = settings(tmp_path).store
    found = costs.recorded(store)
    _run(tmp_path, {}, monkeypatch)
    assert len(costs.recorded(store)) == len(found)
    sizes = {(row.kind, row.about): row.units for row in found}
    assert sizes["edit", "memit"] == 5
    assert sizes["score", "mmlu"] == 20
    assert all(isinstance(row, Took) and row.megabytes > 0 for row in found)
