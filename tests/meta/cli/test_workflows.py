"""What other people's CI calls is sound: pinned, without privileges, and its shell steps do what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from editgate.report.run_report import read_report

ROOT = Path(__file__).parents[3]
ACTION = ROOT / ".github" / "actions" / "gate" / "action.yml"


def _steps() -> dict[str, dict[str, Any]]:
    action = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    return {step["name"]: step for step in action["runs"]["steps"] if "name" in step}


def _run(name: str, work: Path, store: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """Run a step's shell lines with the environment that GitHub would give them."""
    action = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    values = {f"inputs.{key}": entry["default"] for key, entry in action["inputs"].items()}
    values |= {f"inputs.{key}": value for key, value in inputs.items()}
    values |= {"github.action_path": str(ACTION.parent), "runner.temp": str(store.parent)}
    step = _steps()[name]
    environment = dict(step.get("env", {}))
    for key, text in environment.items():
        for place, value in values.items():
            text = text.replace(f"${{{{ {place} }}}}", value)  # noqa: PLW2901
        environment[key] = text
    assert "${{" not in step["run"], "an expression in a shell line is an injection"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    told = {"GITHUB_STEP_SUMMARY": str(work / "summary.md"), "PATH": path}
    quiet = {"PYTEST_ADDOPTS": "-p no:cacheprovider", "PYTEST_XDIST_WORKER": "", "PYTEST_XDIST_WORKER_COUNT": "1"}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    return subprocess.run(  # noqa: S603
        command,
        cwd=work,
        env={**os.environ, **quiet, **environment, **told},
        text=True,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    "file", [ACTION, *sorted((ROOT / ".github" / "workflows").glob("*.yml"))], ids=lambda f: f.stem
)
def test_everything_used_is_pinned_by_commit(file: Path) -> None:
    """Each `uses:` names a commit, or this repository itself."""
    text = file.read_text(encoding="utf-8")
    used = [
        line.split("uses:")[1].split("#")[0].strip() for line in text.splitlines() if "uses:" in line and line[0] != "#"
    ]
    assert all(name.startswith(("$/", "./")) or len(name.partition("@")[2]) == 40 for name in used), used
    assert "write" not in text.split("jobs:")[0]


def test_the_callers_package_is_installed_beside_the_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are handed to pip; where there is no package of the caller's, the suite alone."""
    log = tmp_path / "log"
    fake = tmp_path / "bin" / "python"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\necho "$@" >> {log}\n', encoding="utf-8")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    (tmp_path / "work").mkdir()
    name = "Install the suite, and the caller's own package beside it"
    assert _run(name, tmp_path / "work", tmp_path).returncode == 0
    assert len(log.read_text(encoding="utf-8").splitlines()) == 1
    (tmp_path / "work" / "pyproject.toml").touch()
    _run(name, tmp_path / "work", tmp_path)
    lines = log.read_text(encoding="utf-8").splitlines()
    assert [line.split()[-1] for line in lines[1:]] == [f"{ACTION.parent}/../../..", "."]


def test_a_regression_is_red_and_told(tmp_path: Path, store: Path) -> None:
    """The steps judge a method that does harm, exit with 1, write a report, a summary and annotations, safety first."""
    arguments = "--edit-counts=2\n-n\n0\n-k\nvandal and (gsm8k or toxigen)"
    given = {"editor": "editgate.controls:Vandal", "arguments": arguments}
    judged = _run("Judge", tmp_path, store, **given)
    assert judged.returncode == 1, judged.stdout + judged.stderr
    assert read_report(tmp_path / "editgate-report" / "report.json").result == "regression"
    assert (tmp_path / "editgate-report" / "junit.xml").is_file()
    told = _run("Summarize", tmp_path, store, **given)
    assert told.returncode == 0, told.stderr
    first = told.stderr.splitlines()[0]
    assert first.startswith("::error title=")
    assert "vandal-llama-mini" in first
    assert "vandal-llama-mini" in (tmp_path / "summary.md").read_text(encoding="utf-8")


def test_a_run_without_a_report_is_told(tmp_path: Path, store: Path) -> None:
    """A usage error stops the run before there is a report: the exit code is pytest's, and the annotation says so."""
    judged = _run("Judge", tmp_path, store, editor="nobody", arguments="-n\n0")
    assert judged.returncode == int(pytest.ExitCode.USAGE_ERROR)
    assert "wrote no report" in _run("Summarize", tmp_path, store).stderr
