"""The front door: options, fixtures, markers, ids and summary hooks. What they do is in `tests/harness/`."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if os.getloadavg()[0] > 1:  # before torch: on a busy machine threads that spin while they wait cost most of all
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
from syrupy.assertion import SnapshotAssertion

from editgate import selection, tracebacks
from editgate.errors import ConfigError
from editgate.inputs.benchmarks import asked_of
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import ModelSource
from editgate.measure import integrity
from editgate.measure.model_under_test import Run
from editgate.measure.session import EvaluationSession
from editgate.options import options
from editgate.options.settings import Settings
from editgate.progress_line import ProgressLine
from editgate.report.summary import NotEvaluated, Summary
from editgate.scheduling import ByTrajectory, order_of
from editgate.snapshots import ScoreSnapshot, refuse_update_under_ci
from editgate.verdict.edit_budget import Orders
from editgate.verdict.judging import Judged, QualityVerdict
from editgate.verdict.outcome import ThresholdNotMet, place

if TYPE_CHECKING:
    from editgate.verdict.verdict import Verdict


SETTINGS = pytest.StashKey[Settings]()


@dataclass(frozen=True)
class Checkpoint:
    """Which trajectory, after how many edits."""

    editor: EditorSpec
    model: ModelSource
    edits: int


def pytest_addoption(parser: pytest.Parser) -> None:
    """Put every option into one group of `--help`."""
    options.add_to(parser.getgroup("editgate", "does the model survive being edited?"))


def pytest_configure(config: pytest.Config) -> None:
    """Check the command line before any model is loaded, and register a marker for every editor."""
    try:
        refuse_update_under_ci(config)
        config.stash[SETTINGS] = options.read(config.option, config.rootpath)
    except ConfigError as problem:
        raise pytest.UsageError(str(problem)) from None
    config.addinivalue_line("markers", "capability: what an edited model can still do")
    config.addinivalue_line("markers", "safety: truthfulness and toxicity; a regression here is named first")
    config.addinivalue_line("markers", "quality: whether the edits took, and only they")
    config.addinivalue_line("markers", "curve: what a method costs is what is on record")
    config.addinivalue_line("markers", "integrity: rules that every number rests on")
    for spec in config.stash[SETTINGS].editors:
        config.addinivalue_line("markers", f"{spec.name}: tests of the editor {spec.name}")
    if not hasattr(config, "workerinput"):
        _register_summary(config)
    _share_cores()


def _register_summary(config: pytest.Config) -> None:
    subject = partial(selection.subject, config.stash[SETTINGS], config.invocation_params.args)
    try:
        summary = Summary(subject, config.option.report, config.option.compare)
    except ConfigError as problem:
        raise pytest.UsageError(str(problem)) from None
    config.pluginmanager.register(summary, "editgate-summary")
    config.pluginmanager.register(NotEvaluated(config), "editgate-not-evaluated")


def _share_cores() -> None:
    """Give each worker its part of the cores; more threads than cores make every worker slower."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // workers))


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what this run is about."""
    return selection.header(config.stash[SETTINGS])


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what was not asked for: the search for edit budgets, and this suite's own tests."""
    left_out = selection.left_out(config, config.stash[SETTINGS])
    return True if collection_path.name in left_out and collection_path.parent.name in {"gate", "tests"} else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test all editors, models and Ns; the command line narrows them by deselection."""
    chosen = metafunc.config.stash[SETTINGS]
    if "checkpoint" in metafunc.fixturenames:
        name = metafunc.function.__name__.removeprefix("test_")
        params = [
            pytest.param(Checkpoint(editor, model, count), id=f"{run}-n{count}",
                         marks=_marks(chosen, editor, model, name, count))
            for editor, model, run in selection.runs(chosen, name)
            for count in chosen.counts
        ]  # fmt: skip
        metafunc.parametrize("checkpoint", params, indirect=True, scope="session")
    if "rule" in metafunc.fixturenames:
        params = [
            pytest.param((editor, model, rule), id=f"{run}-{rule}", marks=getattr(pytest.mark, editor.name))
            for editor, model, run in selection.runs(chosen)
            for rule in integrity.rules_of(editor)
        ]
        metafunc.parametrize("rule", params, scope="session")
    if "curve_of" in metafunc.fixturenames:
        params = [
            pytest.param((editor, model), id=run, marks=getattr(pytest.mark, editor.name))
            for editor, model, run in selection.recorded(chosen)
        ]
        metafunc.parametrize("curve_of", params, scope="session")
    if "budget_of" in metafunc.fixturenames:
        params = [
            pytest.param((editor, model), id=run, marks=getattr(pytest.mark, editor.name))
            for editor, model, run in selection.runs(chosen)
        ]
        metafunc.parametrize("budget_of", params, scope="session")
    if "baseline_of" in metafunc.fixturenames:
        params = [
            pytest.param((model, row), id=f"{model.name}-{row}")
            for model in chosen.models
            for row in asked_of(chat=model.chat)
        ]
        metafunc.parametrize("baseline_of", params, scope="session")


def _marks(
    chosen: Settings, editor: EditorSpec, model: ModelSource, name: str, count: int
) -> list[pytest.MarkDecorator]:
    marks: list[pytest.MarkDecorator] = [getattr(pytest.mark, editor.name)]
    guessed = chosen.policy.at_chance(model.name, name)
    if guessed is not None:
        marks.append(pytest.mark.skip(reason=f"{model.name} guesses at {name}: {guessed}"))
    limit = chosen.known_failure(editor, model, name, count)
    if limit is not None:
        marks.append(pytest.mark.xfail(raises=ThresholdNotMet, strict=limit.always, reason=limit.reason))
    return marks


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what `--model` and `--editor` leave out, after syrupy has seen it; rules come before benchmarks."""
    chosen = config.stash[SETTINGS]
    out = [item for item in items if not selection.is_chosen(item, chosen, config.option.keyword)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in set(out)]
    items.sort(key=order_of)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Say what the test is about before a fixture can fail: an error belongs to its trajectory, benchmark and N."""
    about = selection.place_of(item)
    if about is not None:
        place(item, *about)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the traceback of an author's code, not that of the suite which called it."""
    return (yield from tracebacks.shown(item, call))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByTrajectory:
    """Keep a trajectory on one worker."""
    return ByTrajectory(config, log, [run for _, _, run in selection.runs(config.stash[SETTINGS])])


@pytest.fixture(scope="session")
def evaluation_session(request: pytest.FixtureRequest) -> EvaluationSession:
    """The process's models, trajectories and outcomes."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    return EvaluationSession(request.config.stash[SETTINGS], ProgressLine(request.config, worker))


@pytest.fixture(scope="session")
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    """Which trajectory, after how many edits."""
    found: Checkpoint = request.param
    return found


@pytest.fixture
def trajectory(evaluation_session: EvaluationSession, checkpoint: Checkpoint) -> Run:
    """The trajectory, sound by every rule; a broken rule is an error of each test that needs it."""
    run = evaluation_session.trajectory(checkpoint.editor, checkpoint.model)
    evaluation_session.check_all(run)
    return run


@pytest.fixture
def verdict(
    evaluation_session: EvaluationSession, checkpoint: Checkpoint, trajectory: Run, request: pytest.FixtureRequest
) -> Judged[Verdict]:
    """The verdict on the benchmark that the test is named after."""
    name = request.function.__name__.removeprefix("test_")
    return selection.judge_benchmark(evaluation_session, trajectory, checkpoint.edits, name, request.node)


@pytest.fixture
def edit_quality(
    evaluation_session: EvaluationSession, checkpoint: Checkpoint, trajectory: Run, request: pytest.FixtureRequest
) -> Judged[QualityVerdict]:
    """The verdict on the kind of edit quality that the test is named after."""
    name = request.function.__name__.removeprefix("test_")
    return selection.judge_quality(evaluation_session, trajectory, checkpoint.edits, name, request.node)


@pytest.fixture
def edit_budget(
    evaluation_session: EvaluationSession, budget_of: tuple[EditorSpec, ModelSource], request: pytest.FixtureRequest
) -> Judged[Orders]:
    """The edit budget of this editor on this model, held against `--min-budget`."""
    return selection.judge_budget(evaluation_session, *budget_of, request.node)


@pytest.fixture
def scores(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    """A recorded baseline with a tolerance."""
    return snapshot.with_defaults(extension_class=ScoreSnapshot)
