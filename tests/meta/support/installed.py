"""An environment with a built wheel of this repository in it, and a foreign repository that uses it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from meta.support.gate import ROOT

OFFLINE = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index")
# What another process must not inherit of the run that it is started from.
OWN = ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTHONPATH", "PYTEST_CURRENT_TEST")

METHOD = '''
import torch

class MyEditor:
    """Pours a little noise into one matrix."""

    def __init__(self, model, tokenizer):
        self.model = model
        self.matrix = model.get_parameter("model.layers.2.mlp.down_proj.weight")

    def apply(self, edit):
        generator = torch.Generator().manual_seed(len(edit.target_new))
        with torch.no_grad():
            self.matrix += 1e-4 * torch.randn(self.matrix.shape, generator=generator)
'''
PROJECT = """
[project]
name = "theirs"
version = "1"

[tool.pytest.ini_options]
addopts = "--strict-markers -ra"
filterwarnings = ["error"]
testpaths = ["tests"]
"""
CONFTEST = """
def pytest_addoption(parser):
    parser.addoption("--model", default="theirs")      # as the gate has one
    parser.addoption("--device", default="theirs")
"""
OWN_TEST = """
import sys

def test_own(request):
    assert request.config.getoption("--device") == "theirs"
    assert "torch" not in sys.modules
    assert "editgate.plugin" not in sys.modules
"""
CHECKS = """
from editgate import check_editor, parametrize_with_checks

GIVEN = {"edit_counts": "2", "limit": 40, "store": "store"}

@parametrize_with_checks("my_pkg.my_module:MyEditor", **GIVEN)
def test_mine(check):
    check()

def test_results():
    assert next(iter(check_editor("my_pkg.my_module:MyEditor", **GIVEN))).passed
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment of its own.

    Attributes:
        python: its interpreter.
    """

    python: Path

    def run(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m ...` from a folder, offline, with nothing of this process's environment variables."""
        kept = {name: value for name, value in os.environ.items() if name not in OWN}
        return subprocess.run(  # noqa: S603 - our own commands
            [str(self.python), "-m", *arguments],
            cwd=folder,
            env=kept | {"HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )


def build_wheel(folder: Path) -> Path:
    """Build this repository's wheel, with what is installed here."""
    command = [sys.executable, "-m", "pip", "wheel", *OFFLINE, "--no-build-isolation", "-w", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own command
    (wheel,) = folder.glob("editgate-*.whl")
    return wheel


def fresh_environment(folder: Path, wheel: Path) -> Environment:
    """Make an environment with the wheel in it; dependencies are this environment's, its editable install is not.

    A `.pth` file adds a folder to the path without obeying the `.pth` files in it.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)  # noqa: S603
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", *OFFLINE, str(wheel)]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own command
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n", encoding="utf-8")
    return Environment(python)


def foreign_repository(folder: Path) -> Path:
    """Make a repository with a `tests/` package, a conftest with options, strict settings and a method."""
    files = {
        "pyproject.toml": PROJECT,
        "tests/__init__.py": "",
        "tests/conftest.py": CONFTEST,
        "tests/test_own.py": OWN_TEST,
        "tests/test_checks.py": CHECKS,
        "my_pkg/__init__.py": "",
        "my_pkg/my_module.py": METHOD,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder
