"""The front door: options, fixtures, markers, ids and summary hooks. What they do is in `tests/harness/`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if os.getloadavg()[0] > 1:  # before torch: on a busy machine threads that spin while they wait cost most of all
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
from syrupy.assertion import SnapshotAssertion

from tests.harness import gate, integrity, models, settings
from tests.harness.benchmarks import BENCHMARKS
from tests.harness.editor_specs import EditorSpec
from tests.harness.errors import UsageProblem
from tests.harness.laboratory import Laboratory
from tests.harness.models import DTYPES, ModelSource
from tests.harness.outcomes import NotHeld
from tests.harness.scheduling import ByTrajectory, order_of
from tests.harness.settings import Settings
from tests.harness.snapshots import ScoreSnapshot, refuse_update_under_ci
from tests.harness.summary import Summary
from tests.harness.ticker import Ticker
from tests.harness.trajectory import Trajectory

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
    group = parser.getgroup("editgate", "does the model survive being edited?")
    add = group.addoption
    add(
        "--model",
        default=settings.DEFAULT_MODEL,
        metavar="NAME|DIR|HUB_ID",
        help="model to edit. Default: %(default)s",
    )
    add(
        "--editor",
        action="append",
        default=[],
        metavar="NAME|module:Class",
        help="run this editor only; may be given again. Default: all of editors/",
    )
    add(
        "--editor-arg",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a hyperparameter of the one --editor; may be given again. Default: those shipped for the model",
    )
    add(
        "--thresholds",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="floors and known limits of your own, before those of thresholds/; may be given again",
    )
    add(
        "--edits",
        default=settings.DEFAULT_EDITS,
        metavar="NAME|FILE",
        help="counterfact, zsre or a JSON file of records. Default: %(default)s",
    )
    add(
        "--edit-counts",
        default=settings.DEFAULT_COUNTS,
        metavar="N,N,…",
        help="numbers of edits after which the model is judged. Default: %(default)s",
    )
    add(
        "--edit-order",
        type=int,
        default=0,
        metavar="SEED",
        help="another order of the same edits; 0 is the file's own. Default: %(default)s",
    )
    add("--limit", type=int, metavar="N", help="at most N items a benchmark. Default: all")
    add("--device", default="cpu", help="where models run, such as cuda. Default: %(default)s")
    add(
        "--dtype",
        default="float32",
        choices=sorted(DTYPES),
        help="type of the models' weights. Default: %(default)s",
    )
    add(
        "--store",
        type=Path,
        metavar="DIR",
        help="checkpoints and outcomes. Default: .editgate in the root directory",
    )
    add("--inconclusive", default="fail", choices=("fail", "pass"),
        help="what an inconclusive verdict does to its test. Default: %(default)s")  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Check the command line before any model is loaded, and register a marker for every editor."""
    given = config.option
    try:
        refuse_update_under_ci(config)
        config.stash[SETTINGS] = settings.read(
            model=given.model,
            editor=given.editor,
            editor_arg=given.editor_arg,
            edits=given.edits,
            edit_counts=given.edit_counts,
            edit_order=given.edit_order,
            limit=given.limit,
            device=given.device,
            dtype=given.dtype,
            store=given.store or config.rootpath / ".editgate",
            inconclusive=given.inconclusive,
            thresholds=config.rootpath / "thresholds",
            own_thresholds=given.thresholds,
        )
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from None
    config.addinivalue_line("markers", "capability: what an edited model can still do")
    config.addinivalue_line("markers", "safety: truthfulness and toxicity; a regression here is named first")
    config.addinivalue_line("markers", "quality: whether the edits took, and only they")
    config.addinivalue_line("markers", "curve: what a method costs is what is on record")
    config.addinivalue_line("markers", "integrity: rules that every number rests on")
    for spec in config.stash[SETTINGS].editors:
        config.addinivalue_line("markers", f"{spec.name}: tests of the editor {spec.name}")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Summary(), "editgate-summary")
    _share_cores()


def _share_cores() -> None:
    """Give each worker its part of the cores; more threads than cores make every worker slower."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // workers))


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what this run is about."""
    return gate.header(config.stash[SETTINGS])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test all editors, models and Ns; the command line narrows them by deselection."""
    chosen = metafunc.config.stash[SETTINGS]
    if "checkpoint" in metafunc.fixturenames:
        name = metafunc.function.__name__.removeprefix("test_")
        params = [
            pytest.param(Checkpoint(editor, model, count), id=f"{run}-n{count}",
                         marks=_marks(chosen, editor, model, name, count))
            for editor, model, run in gate.runs(chosen)
            for count in chosen.counts
        ]  # fmt: skip
        metafunc.parametrize("checkpoint", params, indirect=True, scope="session")
    if "rule" in metafunc.fixturenames:
        params = [
            pytest.param((editor, model, rule), id=f"{run}-{rule}", marks=getattr(pytest.mark, editor.name))
            for editor, model, run in gate.runs(chosen)
            for rule in (*integrity.RULES, integrity.ZERO_EDITS)
        ]
        metafunc.parametrize("rule", params, scope="session")
    if "curve_of" in metafunc.fixturenames:
        params = [
            pytest.param((editor, model), id=run, marks=getattr(pytest.mark, editor.name))
            for editor, model, run in gate.runs(chosen)
            if editor.built_in and not editor.settings and model.name in models.miniatures()
        ]
        metafunc.parametrize("curve_of", params, scope="session")
    if "baseline_of" in metafunc.fixturenames:
        params = [pytest.param((model, row), id=f"{model.name}-{row}") for model in chosen.models for row in BENCHMARKS]
        metafunc.parametrize("baseline_of", params, scope="session")


def _marks(
    chosen: Settings, editor: EditorSpec, model: ModelSource, name: str, count: int
) -> list[pytest.MarkDecorator]:
    marks: list[pytest.MarkDecorator] = [getattr(pytest.mark, editor.name)]
    limit = chosen.policy.known_limit(editor.name, model.name, name, count)
    as_measured = not (editor.built_in and editor.settings)  # limits are those of the shipped hyperparameters
    if limit is not None and as_measured:
        marks.append(pytest.mark.xfail(raises=NotHeld, strict=limit.always, reason=limit.reason))
    return marks


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what `--model` and `--editor` leave out, after syrupy has seen it; rules come before benchmarks."""
    chosen = config.stash[SETTINGS]
    out = [item for item in items if not gate.is_chosen(item, chosen)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in set(out)]
    items.sort(key=order_of)


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
def trajectory(laboratory: Laboratory, checkpoint: Checkpoint) -> Trajectory:
    """The trajectory, sound by every rule; a broken rule is an error of each test that needs it."""
    run = laboratory.trajectory(checkpoint.editor, checkpoint.model)
    laboratory.check_all(run)
    return run


@pytest.fixture
def verdict(
    laboratory: Laboratory, checkpoint: Checkpoint, trajectory: Trajectory, request: pytest.FixtureRequest
) -> gate.Judged[Verdict]:
    """The verdict on the benchmark that the test is named after."""
    name = request.function.__name__.removeprefix("test_")
    return gate.judge_benchmark(laboratory, trajectory, checkpoint.edits, name, request.node)


@pytest.fixture
def edit_quality(
    laboratory: Laboratory, checkpoint: Checkpoint, trajectory: Trajectory, request: pytest.FixtureRequest
) -> gate.Judged[gate.QualityVerdict]:
    """The verdict on the kind of edit quality that the test is named after."""
    name = request.function.__name__.removeprefix("test_")
    return gate.judge_quality(laboratory, trajectory, checkpoint.edits, name, request.node)


@pytest.fixture
def scores(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    """A recorded baseline with a tolerance."""
    return snapshot.with_defaults(extension_class=ScoreSnapshot)
