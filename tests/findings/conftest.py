"""Runs the paper's questions: `pytest tests/findings` asks the miniatures, `--family=paper` the paper's own models."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from editgate.errors import ConfigError
from editgate.measure.session import EvaluationSession
from editgate.options import chosen_edits, settings
from editgate.options.options import Options
from editgate.options.profiles import COUNTS
from editgate.pytest_run.progress_line import ProgressLine
from editgate.pytest_run.scheduling import ByTest
from findings import families
from findings.families import Family
from findings.session import FindingsSession, pairs
from findings.sweeps import ITEMS, ORDERS

FAMILY = pytest.StashKey[Family]()
OWN = ("model", "editor", "edited", "batch_size", "edit_order", "budget", "min_budget", "edit_counts", "limit")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the paper's own models be chosen."""
    parser.getgroup("findings").addoption(
        "--family",
        default=families.DEFAULT,
        metavar="|".join(families.FAMILIES),
        help="whose findings are measured: the shipped models' or the paper's. Default: %(default)s",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what the findings fix themselves, before any model is loaded."""
    config.addinivalue_line("markers", "findings: the questions of the paper, measured")
    try:
        config.stash[FAMILY] = families.find(config.option.family)
        _refuse_narrowing(Options.of_command_line(config.option))
    except ConfigError as problem:
        raise pytest.UsageError(str(problem)) from None


def _refuse_narrowing(options: Options) -> None:
    for name in OWN:
        if getattr(options, name) != Options.model_fields[name].default:
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"the findings have their own models, methods, grid and items: leave out {flag}.")


def pytest_report_header(config: pytest.Config) -> str:
    """Say what is measured."""
    grid = f"N = {COUNTS.replace(',', ', ')} in {ORDERS} orders, at most {ITEMS} items a benchmark"
    return f"findings: {', '.join(config.stash[FAMILY].models)} at {grid}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a sweep; the others are asked once for the whole family."""
    family = metafunc.config.stash[FAMILY]
    if "sweep_of" in metafunc.fixturenames:
        metafunc.parametrize("sweep_of", [pytest.param(pair, id="-".join(pair)) for pair in pairs(family)])
    elif "findings" in metafunc.fixturenames:
        metafunc.parametrize("findings", [pytest.param(family, id=family.name)], indirect=True, scope="session")


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByTest:
    """Let each test go to any worker: findings wait for sweeps that the other workers measure meanwhile."""
    return ByTest(config, log)


@pytest.fixture(scope="session")
def findings(request: pytest.FixtureRequest) -> FindingsSession:
    """The sweeps that the findings rest on, on fewer items than the gate asks."""
    family: Family = request.config.stash[FAMILY]
    options = Options.of_command_line(request.config.option)
    try:
        chosen = settings.read(options, request.config.rootpath / ".editgate", model_names=family.models)
    except ConfigError as problem:
        raise pytest.UsageError(str(problem)) from None
    chosen = replace(chosen, counts=chosen_edits.parse_counts(COUNTS), limit=ITEMS)
    announce = ProgressLine(request.config, os.environ.get("PYTEST_XDIST_WORKER", ""))
    return FindingsSession(EvaluationSession(chosen, announce), family)
