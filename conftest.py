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

from tests.harness import gate, integrity, options, tracebacks
from tests.harness.benchmarks import asked_of
from tests.harness.edit_budget import Orders
from tests.harness.editor_specs import EditorSpec
from tests.harness.errors import UsageProblem
from tests.harness.findings import families
from tests.harness.findings.workbench import Workbench, asked_by_findings
from tests.harness.judging import Judged, QualityVerdict
from tests.harness.laboratory import Laboratory
from tests.harness.models import ModelSource
from tests.harness.outcomes import NotHeld, place
from tests.harness.runs import Run
from tests.harness.scheduling import ByTrajectory, order_of
from tests.harness.settings import Settings
from tests.harness.snapshots import ScoreSnapshot, refuse_update_under_ci
from tests.harness.summary import NotEvaluated, Summary
from tests.harness.ticker import Ticker

if TYPE_CHECKING:
    from tests.harness.verdict import Verdict

pytest_plugins = ["pytester"]

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
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from None
    config.addinivalue_line("markers", "capability: what an edited model can still do")
    config.addinivalue_line("markers", "safety: truthfulness and toxicity; a regression here is named first")
    config.addinivalue_line("markers", "quality: whether the edits took, and only they")
    config.addinivalue_line("markers", "curve: what a method costs is what is on record")
    config.addinivalue_line("markers", "findings: the questions of the paper, measured; runs with --findings alone")
    config.addinivalue_line("markers", "integrity: rules that every number rests on")
    for spec in config.stash[SETTINGS].editors:
        config.addinivalue_line("markers", f"{spec.name}: tests of the editor {spec.name}")
    if not hasattr(config, "workerinput"):
        _register_summary(config)
    _share_cores()


def _register_summary(config: pytest.Config) -> None:
    subject = partial(gate.subject, config.stash[SETTINGS], config.invocation_params.args)
    try:
        summary = Summary(subject, config.option.report, config.option.compare)
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from None
    config.pluginmanager.register(summary, "editgate-summary")
    config.pluginmanager.register(NotEvaluated(config), "editgate-not-evaluated")


def _share_cores() -> None:
    """Give each worker its part of the cores; more threads than cores make every worker slower."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // workers))


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what this run is about."""
    return gate.header(config.stash[SETTINGS])


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what was not asked for: the search for edit budgets, and this suite's own tests."""
    left_out = gate.left_out(config, config.stash[SETTINGS])
    return True if collection_path in {config.rootpath / "tests" / name for name in left_out} else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test all editors, models and Ns; the command line narrows them by deselection."""
    chosen = metafunc.config.stash[SETTINGS]
    if "checkpoint" in metafunc.fixturenames:
        name = metafunc.function.__name__.removeprefix("test_")
        params = [
            pytest.param(Checkpoint(editor, model, count), id=f"{run}-n{count}",
                         marks=_marks(chosen, editor, model, name, count))
            for editor, model, run in gate.runs(chosen, name)
            for count in chosen.counts
        ]  # fmt: skip
        metafunc.parametrize("checkpoint", params, indirect=True, scope="session")
    if "rule" in metafunc.fixturenames:
        params = [
            pytest.param((editor, model, rule), id=f"{run}-{rule}", marks=getattr(pytest.mark, editor.name))
            for editor, model, run in gate.runs(chosen)
            for rule in integrity.rules_of(editor)
        ]
        metafunc.parametrize("rule", params, scope="session")
    if "curve_of" in metafunc.fixturenames:
        params = [
            pytest.param((editor, model), id=run, marks=getattr(pytest.mark, editor.name))
            for editor, model, run in gate.recorded(chosen)
        ]
        metafunc.parametrize("curve_of", params, scope="session")
    if "sweep_of" in metafunc.fixturenames:
        params = [pytest.param((editor, model), id=sweep) for editor, model, sweep in gate.sweeps(chosen)]
        metafunc.parametrize("sweep_of", params, scope="session")
    elif "findings" in metafunc.fixturenames:
        family = chosen.findings or families.find(families.DEFAULT)
        metafunc.parametrize("findings", [pytest.param(family, id=family.name)], indirect=True, scope="session")
    if "budget_of" in metafunc.fixturenames:
        params = [
            pytest.param((editor, model), id=run, marks=getattr(pytest.mark, editor.name))
            for editor, model, run in gate.runs(chosen)
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
    limit = chosen.known_limit(editor, model, name, count)
    if limit is not None:
        marks.append(pytest.mark.xfail(raises=NotHeld, strict=limit.always, reason=limit.reason))
    return marks


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what `--model` and `--editor` leave out, after syrupy has seen it; rules come before benchmarks."""
    chosen = config.stash[SETTINGS]
    out = [item for item in items if not gate.is_chosen(item, chosen, config.option.keyword)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in set(out)]
    items.sort(key=order_of)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Say what the test is about before a fixture can fail: an error belongs to its trajectory, benchmark and N."""
    about = gate.place_of(item)
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
    return ByTrajectory(config, log, [run for _, _, run in gate.runs(config.stash[SETTINGS])])


@pytest.fixture(scope="session")
def laboratory(request: pytest.FixtureRequest) -> Laboratory:
    """The process's models, trajectories and outcomes."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    return Laboratory(request.config.stash[SETTINGS], Ticker(request.config, worker))


@pytest.fixture(scope="session")
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    """Which trajectory, after how many edits."""
    found: Checkpoint = request.param
    return found


@pytest.fixture
def trajectory(laboratory: Laboratory, checkpoint: Checkpoint) -> Run:
    """The trajectory, sound by every rule; a broken rule is an error of each test that needs it."""
    run = laboratory.trajectory(checkpoint.editor, checkpoint.model)
    laboratory.check_all(run)
    return run


@pytest.fixture
def verdict(
    laboratory: Laboratory, checkpoint: Checkpoint, trajectory: Run, request: pytest.FixtureRequest
) -> Judged[Verdict]:
    """The verdict on the benchmark that the test is named after."""
    name = request.function.__name__.removeprefix("test_")
    return gate.judge_benchmark(laboratory, trajectory, checkpoint.edits, name, request.node)


@pytest.fixture
def edit_quality(
    laboratory: Laboratory, checkpoint: Checkpoint, trajectory: Run, request: pytest.FixtureRequest
) -> Judged[QualityVerdict]:
    """The verdict on the kind of edit quality that the test is named after."""
    name = request.function.__name__.removeprefix("test_")
    return gate.judge_quality(laboratory, trajectory, checkpoint.edits, name, request.node)


@pytest.fixture
def edit_budget(
    laboratory: Laboratory, budget_of: tuple[EditorSpec, ModelSource], request: pytest.FixtureRequest
) -> Judged[Orders]:
    """The edit budget of this editor on this model, held against `--min-budget`."""
    return gate.judge_budget(laboratory, *budget_of, request.node)


@pytest.fixture(scope="session")
def findings(request: pytest.FixtureRequest) -> Workbench:
    """The sweeps that the paper's findings are held against, on fewer items than the gate asks."""
    chosen = request.config.stash[SETTINGS]
    ticker = Ticker(request.config, os.environ.get("PYTEST_XDIST_WORKER", ""))
    family = chosen.findings or families.find(families.DEFAULT)
    return Workbench(Laboratory(asked_by_findings(chosen), ticker), family)


@pytest.fixture
def scores(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    """A recorded baseline with a tolerance."""
    return snapshot.with_defaults(extension_class=ScoreSnapshot)
