"""The example repository of a method's author works as its README says, on a copy that knows nothing of this one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from editgate.inputs import editor_specs
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import find, load
from editgate.inputs.unedited_model import LoadedModel

REPOSITORY = Path(__file__).parents[3]
EXAMPLE = Path(__file__).parents[1] / "example_method"
QUICK = ("--edit-counts=1,2", "--limit=12", "--inconclusive=pass")  # twelve items settle nothing but a collapse


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example, and its package installed beside it in `site`."""
    home = tmp_path_factory.mktemp("author") / "one-matrix"
    shutil.copytree(EXAMPLE, home, ignore=shutil.ignore_patterns("__pycache__"))
    offline = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    _run(home, {}, "pip", "install", *offline, "--target", str(home / "site"), str(home))
    return home


def _run(home: Path, settings: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - our own commands
        [sys.executable, "-m", *arguments],
        cwd=home,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_readme_is_what_its_author_runs(theirs: Path) -> None:
    """The whole gate passes on the registered name, with the known failures of their repository and no test of ours."""
    lines = (EXAMPLE / "README.md").read_text(encoding="utf-8").splitlines()
    command = next(line for line in lines if line.startswith("python -m editgate --editor"))
    options = (*QUICK, f"--store={theirs / 'store'}", "-p", "no:cacheprovider", "-p", "no:xdist")
    places = (theirs / "site", REPOSITORY / "tests", REPOSITORY)
    printed = _run(theirs, {"PYTHONPATH": os.pathsep.join(map(str, places))}, *command.split()[2:], *options)
    assert "one_matrix-llama-mini" in printed
    # 8 rules, and 8 benchmarks and 3 qualities at 2 checkpoints; of one quality it is on record that it may fail
    assert "29 passed" in printed
    assert "1 xfailed, 1 xpassed" in printed


def test_its_known_failures_are_of_its_name(theirs: Path) -> None:
    """The file of known failures, the entry point and the marker agree on one name."""
    project = tomllib.loads((theirs / "pyproject.toml").read_text())["project"]
    (name,) = project["entry-points"]["editgate.editors"]
    assert tomllib.loads((theirs / "known_failures.toml").read_text())["editor"] == name


def test_a_changed_helper_is_another_key(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's key changes with any file of their package, not only with the method's own."""
    monkeypatch.syspath_prepend(str(theirs))
    base = load(find("llama-mini"), device="cpu", dtype="float32")
    before = _identity(base)
    helper = theirs / "one_matrix" / "loss.py"
    helper.write_text(helper.read_text() + "\n# changed\n")
    assert _identity(base) != before


def _identity(base: LoadedModel) -> dict[str, object]:
    editor_specs._digest_of_package.cache_clear()
    return EditorSpec("one_matrix", "one_matrix.method:OneMatrix").identity(base)


def test_a_named_file_is_part_of_the_key(tmp_path: Path) -> None:
    """A hyperparameter that names a file stands for its content."""
    base = load(find("llama-mini"), device="cpu", dtype="float32")
    file = tmp_path / "net.bin"
    found = []
    for content in ("one", "two"):
        file.write_text(content, encoding="utf-8")
        spec = EditorSpec("noop", "editgate.controls:NoOp", {"net": str(file)})
        found.append(spec.identity(base)["files"])
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("editgate.controls:NoOp", "noop"),
        (f"{__name__}:Rome", f"{__name__.replace('.', '_')}_rome"),  # else ROME's known failures would be its own
        (f"{__name__}:Skip", f"{__name__.replace('.', '_')}_skip"),  # else it would skip itself
    ],
)
def test_a_name_has_no_other_meaning(wanted: str, name: str) -> None:
    """A class that is called like a built-in editor or a marker of pytest gets its module's name too."""
    assert editor_specs.find(wanted).name == name


class Rome:
    """Not the built-in one."""

    def __init__(self, model: object, tokenizer: object) -> None:
        self.model, self.tokenizer = model, tokenizer

    def apply(self, edit: object) -> None:
        """Never called."""


class Skip(Rome):
    """Not pytest's."""
