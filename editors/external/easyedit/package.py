"""EasyEdit as a Python package: what it must be installed with, its methods, and what its own source says of them."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from editors.core.errors import EditorError, EditorNotFound, ForeignFailure, HyperparameterError
from editors.external.calls import external_call, mentions, seeded

PREFIX = "easyedit"
PACKAGE = "easyeditor"
ALGORITHMS = f"{PACKAGE}.util.alg_dict"
METHODS = f"{PACKAGE}.models"
BASE_EDITOR = Path("editors", "editor.py")
# What importing EasyEdit needs besides editgate. Its requirements.txt pins older torch, transformers and tokenizers.
NEEDS = (
    "higher omegaconf timm iopath fairscale opencv-python-headless av qwen_vl_utils sentence_transformers einops "
    "matplotlib hydra-core peft zhipuai sniffio openai rouge"
)
GUIDE = "docs/easyedit.md"


def names() -> list[str]:
    """Names of EasyEdit's methods that edit a model, in alphabetical order; those that ask a service take none.

    Raises:
        EditorNotFound: EasyEdit is not installed or cannot be imported.
    """
    known = {name: apply for name, apply in _import(ALGORITHMS).ALG_DICT.items() if apply is not None}
    return sorted(name for name, apply in known.items() if "model" in inspect.signature(apply).parameters)


def named(wanted: str) -> str:
    """EasyEdit's spelling of a method's name; upper and lower case, `-` and `_` do not matter.

    Raises:
        EditorNotFound: EasyEdit has no such method, is not installed or cannot be imported.
    """
    known = names()
    alike = [name for name in known if plain(name) == plain(wanted)]
    if wanted not in known and len(alike) != 1:
        raise EditorNotFound(f"EasyEdit has no method {wanted!r}; it has {', '.join(known)}")
    return wanted if wanted in known else alike[0]


def fresh(name: str) -> Callable[..., Any]:
    """The method's function, from modules that no edit has used.

    EasyEdit keeps context templates, covariances, projections and executors in its methods' modules. All of these are
    imported again: a reload would leave old classes in the modules that had imported them.
    """
    _import(ALGORITHMS)
    for module in [m for m in sys.modules if m in (METHODS, ALGORITHMS) or m.startswith(f"{METHODS}.")]:
        del sys.modules[module]
    apply: Callable[..., Any] = _import(ALGORITHMS).ALG_DICT[name]
    return apply


def hyperparameter_class(name: str) -> Any:  # noqa: ANN401 - a class of EasyEdit
    """The class that reads the method's hyperparameter file.

    Raises:
        HyperparameterError: EasyEdit exports none.
    """
    wanted = {plain(name) + ending for ending in ("hyperparams", "hparams")}
    for module in (_import(ALGORITHMS), _import(PACKAGE)):
        for exported, value in vars(module).items():
            if plain(exported) in wanted and hasattr(value, "from_hparams"):
                return value
    raise HyperparameterError(f"EasyEdit exports no hyperparameters for {name!r} ({' or '.join(sorted(wanted))})")


def padded_right() -> frozenset[str]:
    """Methods for which EasyEdit's own `BaseEditor` pads on the right; for all others it pads on the left.

    Read off its source: each release has more of them, and a method padded on the wrong side edits other tokens.

    Raises:
        EditorError: The source does not say it in the known form.
    """
    file = Path(str(_import(PACKAGE).__file__)).parent / BASE_EDITOR
    tree = ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else ast.Module([], [])
    sides = {side: _listed(tree, side) for side in ("left", "right")}
    if not sides["right"] or sides["left"] != sides["right"]:  # "not in" the one, "in" the other
        raise EditorError(
            f"{file} does not say in the form that this adapter reads which methods are padded on the right, so that "
            "none can be called as EasyEdit calls it; use another commit of EasyEdit"
        )
    return frozenset(sides["right"])


def source(name: str) -> str:
    """The Python source of the method's own folder."""
    apply = _import(ALGORITHMS).ALG_DICT[name]
    folder = Path(inspect.getfile(inspect.unwrap(apply))).parent
    return "\n".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.py")))


def plain(name: str) -> str:
    """A name in lower case, with letters and digits only."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _listed(tree: ast.AST, side: str) -> set[str]:
    """The names that `hparams.alg_name` is compared with where the padding side is set to this one."""
    found: set[str] = set()
    for branch in (node for node in ast.walk(tree) if isinstance(node, ast.If)):
        if not any(_sets_side(statement, side) for statement in branch.body):
            continue
        for test in (node for node in ast.walk(branch.test) if isinstance(node, ast.Compare)):
            if isinstance(test.left, ast.Attribute) and test.left.attr == "alg_name":
                found |= {str(name) for name in ast.literal_eval(test.comparators[0])}
    return found


def _sets_side(statement: ast.stmt, side: str) -> bool:
    return (
        isinstance(statement, ast.Assign)
        and isinstance(target := statement.targets[0], ast.Attribute)
        and target.attr == "padding_side"
        and isinstance(statement.value, ast.Constant)
        and statement.value.value == side
    )


def _import(name: str) -> ModuleType:
    """A module of EasyEdit; the random generators are left alone, which `editors/editor.py` seeds as it is imported."""
    if name in sys.modules:
        return sys.modules[name]
    try:
        with external_call(f"importing {name}"), seeded(0):
            return importlib.import_module(name)
    except ForeignFailure as failure:
        raise EditorNotFound(_cannot_import(failure)) from failure.__cause__


def _cannot_import(failure: ForeignFailure) -> str:
    """Why EasyEdit cannot be imported, and what to install."""
    cause = failure.__cause__
    lacking = str(cause.name) if isinstance(cause, ModuleNotFoundError) else ""
    if mentions(cause, "torchvision") and lacking != "torchvision":
        return f"EasyEdit cannot be imported: {failure}; torchvision must be the build for this torch ({GUIDE})"
    if lacking == PACKAGE:
        return (
            "EasyEdit is not installed: clone github.com/zjunlp/EasyEdit, put the clone on PYTHONPATH, and "
            f"pip install {NEEDS} (not its requirements.txt, whose pins exclude editgate's; see {GUIDE})"
        )
    if lacking.partition(".")[0] == "transformers":
        return (
            f"EasyEdit cannot be imported: this release of transformers has no module {lacking}, which EasyEdit asks "
            f"for; install an older one that editgate takes too, transformers==5.23.* ({GUIDE})"
        )
    if lacking:
        return f"EasyEdit cannot be imported: {failure}; it needs pip install {NEEDS} ({GUIDE})"
    return f"EasyEdit cannot be imported: {failure}"
