"""An installed wheel works from anywhere, beside another `tests/`, and costs other people's runs nothing."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from meta.support.installed import Environment, build_wheel, foreign_repository, fresh_environment

MOST_BYTES = 40 * 2**20
SMALL = ("--edit-counts=2", "--limit=40", "--inconclusive=pass")
MINE = ("--editor=my_pkg.my_module:MyEditor", "-m", "myeditor", "-k", "gsm8k or finite")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository's wheel."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A fresh environment with that wheel."""
    return fresh_environment(tmp_path_factory.mktemp("environment"), wheel)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Somebody else's repository."""
    return foreign_repository(tmp_path / "theirs")


def test_the_wheel_holds_the_whole_gate_and_no_other_name(wheel: Path) -> None:
    """Two import names, nothing called tests; thresholds, weights, documents, templates and baselines are inside."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"editgate", "editors"}
    inside = {
        "editgate/thresholds/default.toml",
        "editgate/gate/test_safety.py",
        "editgate/gate/standalone.toml",
        "editgate/report/report.md.j2",
        "editgate/miniature/weights/pythia-mini-l/model.safetensors",
        "editgate/miniature/documents/toxigen/test.jsonl",
        "editgate/inputs/chat_tasks/refusal.yaml",
        "editors/defaults/memit.toml",
    }
    assert inside <= set(names)
    assert any(name.startswith("editgate/gate/__snapshots__/test_baselines/") for name in names)
    assert wheel.stat().st_size <= MOST_BYTES


def test_a_strangers_run_is_left_alone(environment: Environment, theirs: Path) -> None:
    """Their tests run with their options of the same names, and neither the plugin nor torch is imported."""
    done = environment.run(theirs, "pytest", "-p", "no:cacheprovider", "tests/test_own.py")
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert "--edit-counts" not in environment.run(theirs, "pytest", "--help").stdout


def test_the_gate_runs_from_any_directory(environment: Environment, theirs: Path) -> None:
    """`python -m editgate` judges a method of their repository, whatever its settings, and says how to repeat it."""
    done = environment.run(theirs, "editgate", *MINE, *SMALL, "-p", "no:xdist", "--report=out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert "warning" not in done.stdout
    assert (theirs / "out" / "report.html").is_file()
    assert (theirs / ".editgate").is_dir()
    again = ("editgate.gate.test_capability::test_gsm8k[myeditor-llama-mini-n2]", *MINE[:1], *SMALL)
    assert "1 test collected" in environment.run(theirs, "editgate", *again, "--collect-only", "-q").stdout


def test_the_gate_runs_under_their_settings(environment: Environment, theirs: Path) -> None:
    """`pytest --pyargs editgate.gate` does too, though their settings make every warning an error.

    Their conftest may have no option of the same name then; `python -m editgate` does not mind.
    """
    (theirs / "tests" / "conftest.py").unlink()
    given = ("--pyargs", "editgate.gate", *MINE, *SMALL, "-p", "no:cacheprovider")
    done = environment.run(theirs, "pytest", *given)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_the_checks_are_tests_of_their_own_file(environment: Environment, theirs: Path) -> None:
    """`from editgate import ...` works in a test package of theirs, one test a check."""
    given = ("tests/test_checks.py", "-p", "no:cacheprovider", "-k", "finite or results", "-W", "default")
    done = environment.run(theirs, "pytest", *given)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
