"""The pytest plugin: options, markers, parameters, fixtures and summary hooks. What they do is in the other rooms."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from editgate.cases import BaselineCase, Case
from editgate.compat.pytest import warnings_shown
from editgate.errors import ConfigError
from editgate.inputs import missing_hyperparameters
from editgate.measure.time_spent import keeping, spending
from editgate.options import devices, options, settings
from editgate.options.options import Options
from editgate.options.settings import Settings
from editgate.pytest_run import (
    described,
    late_imports,
    near_misses,
    repeated_errors,
    selection,
    shard_run,
    signals,
    time_table,
    tracebacks,
)
from editgate.pytest_run.pace import Follow, Pace
from editgate.pytest_run.progress_line import ProgressLine
from editgate.pytest_run.snapshots import ScoreSnapshot, refuse_update_under_ci, unused_ignored
from editgate.pytest_run.time_table import TimeTable
from editgate.report.run_report import Subject
from editgate.report.summary import NotEvaluated, Summary
from editgate.report.writer import clear
from editgate.verdict.outcome import Cell, Outcome, note, note_subject
from editors.core.progress import listening

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion

    from editgate.measure.session import EvaluationSession
    from editgate.pytest_run.scheduling import ByTrajectory

OPTIONS = pytest.StashKey[Options]()
SETTINGS = pytest.StashKey[Settings]()
NOTHING_LEFT = pytest.StashKey[str]()
FIRST_WORKER = "gw0"  # xdist's name of it
PACE = pytest.StashKey[Pace]()
MARKERS = (
    "capability: what an edited model can still do",
    "safety: truthfulness and toxicity; a regression here is named first",
    "quality: whether the edits took, without side effects",
    "curve: retention curves match the recorded ones",
    "integrity: rules that every number rests on",
    "measures(check): the benchmark, quality or other check that a test of the gate is about",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Put every option into one group of `--help`."""
    options.add_to(parser.getgroup("editgate", "editgate: regression tests for edited models"))


@pytest.hookimpl(trylast=True)  # when every other plugin has registered its markers
def pytest_configure(config: pytest.Config) -> None:
    """Check the command line before torch is imported, and register a marker for every editor."""
    try:
        refuse_update_under_ci(config)
        chosen = config.stash[OPTIONS] = Options.of_command_line(config.option)
        config.stash[SETTINGS] = settings.read(chosen, config.rootpath / ".editgate")
        for marker in (
            *MARKERS,
            *(f"{editor.name}: the editor {editor.name}" for editor in config.stash[SETTINGS].editors),
        ):
            config.addinivalue_line("markers", marker)
        near_misses.refuse(config, config.stash[SETTINGS])
        config.pluginmanager.register(TimeTable(), time_table.NAME)
        if not _judges(config):
            _work_instead(config)
        elif not hasattr(config, "workerinput"):
            devices.refuse_more_workers(chosen.device, getattr(config.option, "numprocesses", None) or 0)
            summary = Summary(lambda: _subject(config), chosen.report, chosen.compare)
            config.pluginmanager.register(summary, "editgate-summary")
            config.pluginmanager.register(NotEvaluated(config), "editgate-not-evaluated")
            if chosen.report and not config.option.collectonly:
                clear(chosen.report)
            signals.end_with_a_report(config)
            _work_on_ray_first(config)
            pace = config.stash[PACE] = Pace(_trajectories(config))
            on_workers = getattr(config.option, "dist", "no") != "no"  # then this process measures nothing
            line = ProgressLine(config, run=pace.describe) if on_workers else None
            config.pluginmanager.register(Follow(pace, line), "editgate-pace")
    except ConfigError as problem:
        _forget_report(config)
        raise pytest.UsageError(str(problem)) from None


def _judges(config: pytest.Config) -> bool:
    """Whether tests run: not with `--shard`, nor where only the plan is printed."""
    plugins = config.pluginmanager.get_plugins()
    instead = any(isinstance(plugin, shard_run.InsteadOfTests) for plugin in plugins)
    return config.option.shard is None and not instead


def _work_instead(config: pytest.Config) -> None:
    chosen = config.stash[SETTINGS]
    if chosen.stops_early:
        raise ConfigError(
            "--items=auto cannot be planned: which items are asked depends on the verdicts. Allowed: no --items."
        )
    if config.stash[OPTIONS].ray is not None:
        raise ConfigError("--ray works the whole plan and judges. Allowed: without --shard, and not to print the plan.")
    signals.end_with_a_report(config)
    if chosen.shard is None:
        return
    shard_run.refuse(config, chosen.shard)
    opened, reported = partial(_measuring, config, _progress_line(config)), config.stash[OPTIONS].report is not None
    plugin = shard_run.ShardRun(chosen, chosen.shard, opened, reported=reported)
    config.pluginmanager.register(plugin, "editgate-shard")


def _work_on_ray_first(config: pytest.Config) -> None:
    chosen = config.stash[OPTIONS]
    if chosen.ray is not None:
        from editgate.ray_run import run  # noqa: PLC0415 - nothing of it is imported without the option

        run.register(config, chosen, config.stash[SETTINGS])
    elif chosen.ray_worker is not None:
        raise ConfigError("--ray-worker without --ray has no meaning. Allowed: both, or neither.")


def pytest_collection_finish() -> None:
    """What is collected may have imported torch."""
    if "torch" in sys.modules:
        late_imports.limit_threads()


def _forget_report(config: pytest.Config) -> None:
    """Remove an earlier run's report where this run wrote none, but not one to compare with: the next try reads it."""
    folder, earlier = config.option.report, config.option.compare
    if not _judges(config):  # the report is another run's
        return
    kept = earlier is not None and Path(earlier).resolve().parent == Path(folder or "").resolve()
    if folder and Path(folder).is_dir() and not kept and not config.option.collectonly:
        with suppress(ConfigError):  # it was refused for another reason
            clear(Path(folder))


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what this run is about."""
    chosen = config.stash[SETTINGS]
    return described.header(config.stash[OPTIONS], chosen, _subject(config)) + near_misses.left_out(config, chosen)


def _subject(config: pytest.Config) -> Subject:
    return described.subject(config.stash[SETTINGS], config.invocation_params.args)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what was not asked for, such as the search for edit budgets."""
    return True if selection.is_left_out(collection_path, config, config.stash[SETTINGS]) else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test of the gate all editors, models and Ns; the command line narrows them by deselection."""
    marker = metafunc.definition.get_closest_marker("measures")
    if marker is not None and "case" in metafunc.fixturenames:
        chosen = metafunc.config.stash[SETTINGS]
        found = [
            pytest.param(case, id=case.id, marks=selection.marks(case, chosen))
            for case in selection.cases(marker.args[0], chosen)
        ]
        metafunc.parametrize("case", found, indirect=True)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A warning of a dependency while the gate is collected is no failure of the run."""
    if not collector.path.is_relative_to(selection.GATE):
        return (yield)
    with warnings_shown(collector.config):
        return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Nor is one while the report is written; and no baseline of another model or editor counts as unused."""
    late_imports.spare_summary_of_hypothesis(session.config)
    with warnings_shown(session.config), unused_ignored(session.config):
        yield
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and session.config.option.verbose < 2:  # the report and JUnit have each in full by now
        repeated_errors.fold([*terminal.getreports("error"), *terminal.getreports("failed")])


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Generator[None, None, None]:
    """Nor is one while the summary is printed. If no test is left, say which names there are."""
    if NOTHING_LEFT in config.stash:
        terminalreporter.write_line(config.stash[NOTHING_LEFT])
    with warnings_shown(config):
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what the run is not about, after syrupy has seen it, and sort the rest; rules come first.

    A warning of a dependency is no failure of the gate, whatever the ini file says; `-W` on the command line counts.
    """
    chosen = config.stash[SETTINGS]
    asked = [item for item in items if selection.selects(item, chosen, config.option.keyword)]
    kept = [item for item in asked if selection.is_suited(item, chosen)]
    if left_out := set(items) - set(kept):
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    trajectories: dict[str, int] = {}
    if not kept:
        config.stash[NOTHING_LEFT] = near_misses.nothing_left(config, chosen)
    if not hasattr(config, "workerinput"):  # a worker's usage error is a crash
        wanted = {case.editor.name: case.editor for case in selection.cases_of(asked)}
        if wanted and not selection.cases_of(kept):
            raise pytest.UsageError("\n".join(near_misses.explain_unsuited([*wanted.values()], chosen)))
        _refuse_what_cannot_be_edited(config, kept)
    with warnings_shown(config):
        items[:] = sorted(kept, key=lambda item: selection.order_in_run(item, trajectories))
        if not config.option.pythonwarnings:
            for item in items:
                if selection.case_of(item) is not None:
                    item.add_marker(pytest.mark.filterwarnings("default"))


def _refuse_what_cannot_be_edited(config: pytest.Config, kept: Sequence[pytest.Item]) -> None:
    """Stop if no chosen method can edit its model; where some can, the others' tests say why they cannot.

    What needs hyperparameters and has none is said here, once, before torch is imported.
    """
    found = [case for case in selection.cases_of(kept) if not case.editor.external]
    pairs = {(case.editor.name, case.model.name): (case.editor, case.model) for case in found}
    lacking = missing_hyperparameters.lacking(pairs.values())
    explained = [missing_hyperparameters.explain(model, editors) for model, editors in lacking.items()]
    if explained and sum(map(len, lacking.values())) == len(pairs):
        raise pytest.UsageError("\n".join(explained))
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        for line in "\n".join(explained).splitlines():
            terminal.write_line(line)
    if all(model.miniature and not editor.checks_models for editor, model in pairs.values()):
        return
    from editgate.measure.editor_fit import refusals  # noqa: PLC0415 - see `late_imports`

    said = refusals(pairs.values())
    if said and len(said) == len(pairs):
        raise pytest.UsageError("\n".join(dict.fromkeys(said)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Say what the test is about before a fixture can fail: an error belongs to its trajectory, benchmark and N."""
    case = selection.case_of(item)
    if isinstance(case, Case) and case.area != "curve":
        about = Cell(case.trajectory, case.check, case.edits, None, Outcome.NOT_EVALUATED, case.area)
        note_subject(item, replace(about, external=case.editor.external, batch_size=case.editor.batch_size))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the traceback of an author's code, not that of the suite; stop at what every later test would meet too."""
    report = yield from tracebacks.shown(item, call)
    if call.excinfo is not None and selection.case_of(item) is not None:
        item.session.shouldstop = item.session.shouldstop or repeated_errors.reason_to_stop(call.excinfo.value)
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByTrajectory:
    """Keep a trajectory on one worker, if all get one, and begin with the longest."""
    from editgate.plan import costs  # noqa: PLC0415 - only who hands out tests asks
    from editgate.pytest_run.scheduling import ByTrajectory  # noqa: PLC0415 - xdist is here if it asks

    known, chosen = costs.shipped(), config.stash[SETTINGS]
    methods = [known.of_editing(editor.name, chosen.counts[-1]) for editor in chosen.editors for _ in chosen.models]
    seconds = dict(zip(_trajectories(config), methods, strict=True))
    return ByTrajectory(config, log, seconds, room=chosen.every_worker_has_room)


def _trajectories(config: pytest.Config) -> list[str]:
    chosen = config.stash[SETTINGS]
    return [f"{editor.label}-{model.name}" for editor in chosen.editors for model in chosen.models]


@pytest.fixture(scope="session")
def evaluation_session(request: pytest.FixtureRequest) -> Iterator[EvaluationSession]:
    """The process's models, trajectories and outcomes; says first what the run will cost."""
    line = _progress_line(request.config)
    with _measuring(request.config, line) as opened:
        if os.environ.get("PYTEST_XDIST_WORKER", "") in ("", FIRST_WORKER):
            from editgate.estimate.words import lines  # noqa: PLC0415 - see `late_imports`

            found = [selection.case_of(item) for item in request.session.items]
            workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
            with spending("estimating"):
                line.note(*lines(opened, [case for case in found if case is not None], workers))
        yield opened


def _progress_line(config: pytest.Config) -> ProgressLine:
    pace, worker = config.stash.get(PACE, None), os.environ.get("PYTEST_XDIST_WORKER", "")
    return ProgressLine(config, worker, pace.describe if pace and not worker else None)


@contextmanager
def _measuring(config: pytest.Config, line: ProgressLine) -> Iterator[EvaluationSession]:
    table = config.pluginmanager.get_plugin(time_table.NAME)
    assert isinstance(table, TimeTable)  # registered before
    with keeping(table.spent), listening(line.step):
        with spending("importing libraries"), late_imports.measuring():
            from editgate.measure.session import EvaluationSession  # noqa: PLC0415 - see `late_imports`
        yield EvaluationSession(config.stash[SETTINGS], line)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case | BaselineCase:
    """What the test is about."""
    found: Case | BaselineCase = request.param
    return found


@pytest.fixture
def cell(case: Case, evaluation_session: EvaluationSession, request: pytest.FixtureRequest) -> Cell:
    """The question of the test, answered and noted for the summary; what cannot be evaluated is an error."""
    from editgate.verdict.cell import evaluate_cell, with_perplexity  # noqa: PLC0415 - see `late_imports`
    from editgate.verdict.edit_budget import evaluate_budget  # noqa: PLC0415 - as above

    chosen = request.config.stash[OPTIONS]
    command = described.command_again(request.node, chosen)
    if case.area == "budget":
        wanted = evaluation_session.settings.budget
        assert wanted is not None  # without it the test is not collected
        found = evaluate_budget(evaluation_session, case, wanted, command=command)
    else:
        found = evaluate_cell(evaluation_session, case, command=command)
        if chosen.report is not None and case.area != "integrity":
            found = with_perplexity(evaluation_session, case, found)
    note(request.node, found)
    return found


@pytest.fixture
def scores(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    """A recorded baseline with a tolerance."""
    return snapshot.with_defaults(extension_class=ScoreSnapshot)
