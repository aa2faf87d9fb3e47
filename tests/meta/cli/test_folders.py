"""`--report DIR` is `--report=DIR`, also where DIR exists and pytest could take it for a path of tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from editgate.__main__ import _joined
from meta.support.gate import ROOT

TESTS = """
    def test_one(request):
        assert str(request.config.option.report).endswith("out")
        assert str(request.config.option.store).endswith("store")
"""


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a project whose conftest loads the gate's plugin, with what an installation registers."""
    (folder / "conftest.py").write_text('pytest_plugins = ["editgate.plugin"]\n', encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own


def test_existing_folders_after_a_space(pytester: pytest.Pytester) -> None:
    """In the project they are the options' values, also for workers; the tests are found where they are."""
    pytester.makepyfile(TESTS)
    pytester.makeini("[pytest]\n")
    for name in ("out", "store"):
        pytester.mkdir(name)
    done = run(pytester.path, "--report", "out", "--store", "store", "-n", "1")
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert {path.name for path in (pytester.path / "out").iterdir()} >= {"report.json", "report.html"}


def test_a_folder_elsewhere_is_refused_where_it_would_move_the_root(pytester: pytest.Pytester, tmp_path: Path) -> None:
    """One that lies outside decides where pytest looks for settings: one sentence instead of another run."""
    pytester.makepyfile(TESTS)
    pytester.makeini("[pytest]\n")
    elsewhere = tmp_path / "out"
    elsewhere.mkdir()
    done = run(pytester.path, "--report", str(elsewhere))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"Write --report={elsewhere}." in done.stderr
    assert "Traceback" not in done.stderr


def test_the_installed_gate_joins_values() -> None:
    """`python -m editgate` hands every option over with its value, and leaves all others alone."""
    given = ["--report", "out", "-k", "memit", "--budget", "--store", "a b", "--limit=3", "--editor", "x:Y", "-q"]
    assert _joined(given) == [
        "--report=out",
        "-k",
        "memit",
        "--budget",
        "--store=a b",
        "--limit=3",
        "--editor=x:Y",
        "-q",
    ]
