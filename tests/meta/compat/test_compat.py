"""Private names of other libraries are imported in `editgate.compat` and `editors.models.compat`, and nowhere else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import editgate
import editors
from editgate.compat import require
from editgate.errors import IncompatibleLibrary

HOME, EDITORS = Path(editgate.__file__).parent, Path(editors.__file__).parent
LIBRARIES = ("_pytest", "lm_eval", "transformers", "huggingface_hub", "datasets", "torch", "syrupy", "xdist")
PRIVATE_ATTRIBUTES = ("_attn_implementation", "_filters", "_forward_hooks", "_forward_pre_hooks", "_model_call")


def _files() -> list[Path]:
    elsewhere = (HOME / "compat", EDITORS / "models" / "compat.py")
    files = [file for home in (HOME, EDITORS) for file in sorted(home.rglob("*.py"))]
    return [file for file in files if not any(file.is_relative_to(place) for place in elsewhere)]


def _private(file: Path) -> list[str]:
    """Private names of libraries that a file imports, or reads off their objects."""
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in LIBRARIES:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name for name in names if any(part.startswith("_") for part in name.split("."))]
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.partition(".")[0] in LIBRARIES]
            found += [name for name in names if any(part.startswith("_") for part in name.split("."))]
        if isinstance(node, ast.Attribute) and node.attr in PRIVATE_ATTRIBUTES:
            found.append(node.attr)
    return found


@pytest.mark.parametrize("file", _files(), ids=lambda file: file.relative_to(file.parents[2]).as_posix())
def test_private_names_are_used_in_compat_only(file: Path) -> None:
    """What a new release may take away is listed in one place."""
    assert not _private(file)


def test_what_a_library_lacks_is_an_error_that_says_what_to_do() -> None:
    """The message names the part, the installed release, its use and the way out; a missing module counts too."""
    assert require("lm_eval.utils.env", "write prompts") is not None
    for name in ("_pytest.junitxml.gone", "_pytest.gone.key"):
        with pytest.raises(IncompatibleLibrary, match=rf"pytest [\d.]+ has no {name}; editgate needs it to count\."):
            require(name, "count")
