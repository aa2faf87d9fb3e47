"""What the store keeps is measured again when the code that decided it changes, and only then."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import editgate
from editgate.cache import fingerprint
from editgate.cache.store import Store
from editgate.inputs import edit_lists, models
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.unedited_model import LoadedModel
from editgate.measure.trajectory import Trajectory
from editors.core.registry import code_paths

HOME = Path(editgate.__file__).parent
# Modules and packages whose code no score depends on, each with the reason.
NUMBERLESS = {
    "errors": "names and sentences",
    "importing": "when libraries are imported",
    "inert": "how names are printed",
    "cache": "what is stored comes back bit by bit, or is computed again",
    "options": "which numbers are wanted; each choice that decides one is in the key",
    "miniature": "texts and edits, which are in the key as they are",
}
# What a trajectory is given by these is in its key as it is: weights, tokenizer, hyperparameters, the method's code.
IN_THE_KEY = frozenset(
    {
        "inputs.models",
        "inputs.unedited_model",
        "inputs.model_loading",
        "inputs.files.model_files",
        "inputs.files.user_files",
        "inputs.editor_specs",
        "inputs.other_forms.adapter",
        "inputs.other_forms.gguf",
    }
)


def _module(file: Path) -> str:
    parts = file.relative_to(HOME).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_module(file): file for file in sorted(HOME.rglob("*.py"))}


def _imported(module: str) -> set[str]:
    """The modules of editgate that this one imports anywhere in its file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "editgate":
            within = (node.module or "").partition(".")[2]
            names = [f"{within}.{alias.name}".strip(".") for alias in node.names]
            found |= {name if name in FILES else within for name in names}
        if isinstance(node, ast.Import):
            found |= {a.name.partition(".")[2] for a in node.names if a.name.partition(".")[0] == "editgate"}
    return found


def _reached(*modules: str) -> set[str]:
    """These modules and all that they import, directly or not, without going through `IN_THE_KEY`."""
    reached, ahead = set[str](), set(modules)
    while ahead:
        module = ahead.pop()
        reached.add(module)
        if module not in IN_THE_KEY and module.partition(".")[0] not in NUMBERLESS:
            ahead |= _imported(module) - reached
    return reached


@pytest.mark.parametrize("module", [name for name in FILES if name.partition(".")[0] in fingerprint.SCORING])
def test_what_a_score_depends_on_is_digested(module: str) -> None:
    """A module that decides scores imports from digested packages, or from one that is listed as numberless."""
    packages = {name.partition(".")[0] for name in _imported(module)}
    assert packages <= {*fingerprint.SCORING, *NUMBERLESS, ""}


def test_what_a_trajectory_depends_on_is_digested_or_in_its_key() -> None:
    """Edits, edit quality and perplexity depend on no module of `inputs` but on what two of them hand over."""
    reached = _reached("measure.trajectory", "measure.external_checkpoint", "measure.perplexity")
    assert {name for name in reached if name.partition(".")[0] == "inputs"} <= IN_THE_KEY
    assert {name.partition(".")[0] for name in reached} <= {*fingerprint.MEASURE, *NUMBERLESS, "inputs", ""}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of editgate's code that digests are taken of."""
    copy = tmp_path / "editgate"
    for file in (*FILES.values(), *HOME.rglob("*.yaml")):
        target = copy / file.relative_to(HOME)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    monkeypatch.setattr(fingerprint, "HOME", copy)
    fingerprint.code_of.cache_clear()
    yield copy
    fingerprint.code_of.cache_clear()


def _changed(file: Path, packages: tuple[str, ...]) -> bool:
    """Whether one more byte in the file changes the digest of these packages."""
    before, content = fingerprint.code_of.__wrapped__(*packages), file.read_bytes()
    file.write_bytes(content + b"#")
    after = fingerprint.code_of.__wrapped__(*packages)
    file.write_bytes(content)
    return before != after


@pytest.mark.parametrize("packages", [fingerprint.INFERENCE, fingerprint.MEASURE, fingerprint.SCORING])
def test_one_byte_anywhere_in_a_digested_package_is_another_key(packages: tuple[str, ...], home: Path) -> None:
    """Every file below the packages counts, a new one too, and none outside of them."""
    files = [file for file in sorted(home.rglob("*")) if file.is_file()]
    counted = {file for file in files if _changed(file, packages)}
    assert counted == {file for file in files if file.relative_to(home).parts[0] in packages}
    before = fingerprint.code_of(*packages)
    fingerprint.code_of.cache_clear()
    (home / packages[-1] / "new.py").touch()
    assert fingerprint.code_of(*packages) != before


@pytest.fixture(scope="module")
def base() -> LoadedModel:
    """The miniature."""
    return models.load(models.find("llama-mini"), device="cpu", dtype="float32")


def test_a_change_of_what_measures_an_edit_measures_it_again(base: LoadedModel, home: Path, tmp_path: Path) -> None:
    """Efficacy of an older `edit_quality.py` stands for none of a newer one; what was prepared before stays."""

    def keys() -> tuple[str, str]:
        fingerprint.code_of.cache_clear()
        edits = edit_lists.read(edit_lists.SHIPPED["counterfact"])[:1]
        run = Trajectory(EditorSpec("ftl", "ftl"), base, edits, [1], Store(tmp_path))
        return run.key(1), run.setup.key

    checkpoint, prepared = keys()
    assert keys() == (checkpoint, prepared)
    file = home / "measure" / "edit_quality.py"
    file.write_bytes(file.read_bytes() + b"#")
    assert keys() == (keys()[0], prepared)
    assert keys()[0] != checkpoint


def test_a_method_s_code_is_that_of_the_methods_it_builds_on_too() -> None:
    """R-ROME inherits from ROME, so a change of either computes R-ROME again; ROME itself builds on no other."""
    assert [path.name for path in code_paths("rrome")] == ["rrome.py", "rome.py"]
    assert [path.name for path in code_paths("rome")] == ["rome.py"]
    assert [path.name for path in code_paths("grace")] == ["grace"]
