"""Names of a method's hyperparameters, read from its source: importing a method imports torch, which takes seconds.

A record is a class whose name ends in `Hyperparameters`, with one annotated field a hyperparameter. Its bases are in
the same file or imported by name from this package.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

SUFFIX = "Hyperparameters"
PACKAGE = Path(__file__).resolve().parent.parent


@cache
def declared_names(method: str) -> tuple[str, ...]:
    """Names of the hyperparameters of a built-in method: inherited ones first, as pydantic has them.

    Raises:
        LookupError: Its module declares no record.
    """
    file = _file(f"editors.{method}")
    own = [name for name in _classes(file) if name.endswith(SUFFIX)]
    if not own:
        raise LookupError(f"{file} declares no class …{SUFFIX}")
    return tuple(dict.fromkeys(_fields(file, own[-1])))


def _fields(file: Path, name: str) -> list[str]:
    """Fields of a record and of what it inherits from; of classes from elsewhere none."""
    found = _classes(file).get(name)
    if found is None:
        module = _imports(file).get(name, "")
        return _fields(_file(module), name) if module.startswith("editors.") else []
    inherited = [field for base in found.bases for field in _fields(file, ast.unparse(base))]
    own = [
        line.target.id for line in found.body if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    ]
    return inherited + [field for field in own if field != "model_config"]


def _file(module: str) -> Path:
    place = PACKAGE.joinpath(*module.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _classes(file: Path) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in _tree(file).body if isinstance(node, ast.ClassDef)}


def _imports(file: Path) -> dict[str, str]:
    """Module by name of what a file imports by name."""
    nodes = [node for node in _tree(file).body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name: node.module or "" for node in nodes for alias in node.names}
