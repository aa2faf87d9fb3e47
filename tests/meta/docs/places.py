"""The directories that the pages speak of, with what a reader has in them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from meta.docs.shells import Shell
from meta.support.gate import ROOT
from meta.support.installed import OWN

URL = "https://github.com/OWNER/editgate"  # as the pages print it
EXAMPLE = ROOT / "tests" / "meta" / "example_method"
# What a reader's terminal does not have: pytest and the gate print other things where it is set.
UNSET = (*OWN, "CI", "GITHUB_ACTIONS", "VIRTUAL_ENV")
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "COLUMNS": "80"}


def _clone(_: Path) -> None:
    """Nothing: the page's own commands make the clone."""


def _yours(directory: Path) -> None:
    """The reader's repository: a package with a method, and no settings."""
    package = directory / "my_pkg"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(EXAMPLE / "one_matrix" / "loss.py", package)
    method = (EXAMPLE / "one_matrix" / "method.py").read_text(encoding="utf-8")
    (package / "my_module.py").write_text(method.replace("class OneMatrix", "class MyEditor"), encoding="utf-8")


def _example(directory: Path) -> None:
    """A copy of the example of a method's repository."""
    shutil.copytree(EXAMPLE, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))


PLACES: Mapping[str, Callable[[Path], None]] = {"clone": _clone, "yours": _yours, "example": _example}


class Places:
    """The shells of the places, each made when it is first needed.

    Args:
        home: an empty folder, of which the pages know nothing.
        store: where results are kept, if nothing is installed and "clone" is this checkout; None: each place is empty,
            and what the pages install comes from a copy of this checkout that is committed and served as `URL`.
    """

    def __init__(self, home: Path, store: Path | None) -> None:
        self._home = home
        self._store = store
        self._shells: dict[str, Shell] = {}
        self._variables = {name: value for name, value in os.environ.items() if name not in UNSET} | OFFLINE
        if store is None:
            served = committed_copy(home / "served")
            self._variables |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"url.{served.as_uri()}.insteadOf",
                "GIT_CONFIG_VALUE_0": URL,
            }
        else:
            self._variables |= {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": os.pathsep.join((str(ROOT / "tests"), str(ROOT))),
                "PYTEST_ADDOPTS": f"-p no:cacheprovider --store={store}",
            }

    def shell(self, name: str) -> Shell:
        """Return the shell of a place."""
        if name not in self._shells:
            directory = ROOT
            if self._store is None:
                directory = self._home / name
                directory.mkdir()
                PLACES[name](directory)
            state = self._home / f"{name}-state"
            state.mkdir()
            self._shells[name] = Shell(directory, self._variables, state)
        return self._shells[name]


def committed_copy(folder: Path) -> Path:
    """Copy what git has of this checkout, or would add, into a repository with one commit."""
    listed = _git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in sorted({*listed.split("\0")} - {""}):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    _git(folder, "init", "--quiet", "--initial-branch=main")
    _git(folder, "add", "--all", "--force")
    _git(folder, "-c", "user.name=copy", "-c", "user.email=copy@localhost", "commit", "--quiet", "--message=copy")
    return folder


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own command
