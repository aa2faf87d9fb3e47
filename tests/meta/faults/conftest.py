"""What the tests of faults compare with: runs that nothing happened to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from meta.faults.runs import Gate, begin


@dataclass(frozen=True)
class Whole:
    """An uninterrupted run.

    Attributes:
        folder: with its store and report.
        code: its exit status.
        seconds: it took.
    """

    folder: Path
    code: int
    seconds: float


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Gate], Whole]:
    """Runs a gate once without any fault."""

    @cache
    def run(gate: Gate) -> Whole:
        folder = tmp_path_factory.mktemp("whole")
        child = begin(folder, gate)
        code = child.wait()
        assert code in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}, child.output()
        return Whole(folder, code, child.seconds())

    return run


@pytest.fixture
def nightly(request: pytest.FixtureRequest) -> None:
    """Skips what costs minutes, but for `--profile=nightly`."""
    if request.config.option.profile != "nightly":
        pytest.skip(f"{request.node.name} is asked under --profile=nightly")
