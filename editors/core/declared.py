"""What a method declares, read from its source: importing a method imports torch, which takes seconds.

Its hyperparameters' names, and what it says about the edits that it takes. A record is a class whose name ends in
`Hyperparameters`, with one annotated field a hyperparameter. Its bases are in the same file or imported by name from
this package.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

SUFFIX = "Hyperparameters"
PACKAGE = Path(__file__).resolve().parent.parent


def declared_names(method: str) -> tuple[str, ...]:
    """Names of the hyperparameters of a built-in method: inherited ones first, as pydantic has them.

    Raises:
        LookupError: Its module declares no record.
    """
    return tuple(_record(method))


def required_names(method: str) -> tuple[str, ...]:
    """Names of the hyperparameters of a built-in method that have no default.

    Raises:
        LookupError: Its module declares no record.
    """
    return tuple(name for name, line in _record(method).items() if not _has_default(line.value))


@cache
def declared_flag(method: str, flag: str) -> bool:
    """Whether a built-in method's class, or the nearest of its bases, sets an attribute to True.

    Raises:
        LookupError: Its module declares no class that sets it, and inherits from none.
    """
    file = _file(f"editors.{method}")
    found = [value for name in _classes(file) if (value := _flag(file, name, flag)) is not None]
    if not found:
        raise LookupError(f"{file} declares no class with {flag}")
    return found[-1]


def _flag(file: Path, name: str, flag: str) -> bool | None:
    """What a class sets the attribute to, or the first of its bases that does; None: none of them does."""
    found = _classes(file).get(name)
    if found is None:
        module = _imports(file).get(name, "")
        return _flag(_file(module), name, flag) if module.startswith("editors.") else None
    for line in found.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.target.id == flag:
            return bool(line.value is not None and ast.literal_eval(line.value))
    values = (_flag(file, ast.unparse(base), flag) for base in found.bases)
    return next((value for value in values if value is not None), None)


@cache
def _record(method: str) -> dict[str, ast.AnnAssign]:
    """Fields of the record that a method's module declares last."""
    file = _file(f"editors.{method}")
    own = [name for name in _classes(file) if name.endswith(SUFFIX)]
    if not own:
        raise LookupError(f"{file} declares no class …{SUFFIX}")
    return _fields(file, own[-1])


def _has_default(value: ast.expr | None) -> bool:
    """Whether what stands after `=` gives a default: anything but a `Field` of keywords that are none."""
    if not isinstance(value, ast.Call):
        return value is not None
    return bool(value.args) or any(keyword.arg in {"default", "default_factory"} for keyword in value.keywords)


def _fields(file: Path, name: str) -> dict[str, ast.AnnAssign]:
    """Fields of a record and of what it inherits from; of classes from elsewhere none."""
    found = _classes(file).get(name)
    if found is None:
        module = _imports(file).get(name, "")
        return _fields(_file(module), name) if module.startswith("editors.") else {}
    fields: dict[str, ast.AnnAssign] = {}
    for base in reversed(found.bases):  # as in pydantic, the first one counts
        fields |= _fields(file, ast.unparse(base))
    for line in found.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.target.id != "model_config":
            fields[line.target.id] = line
    return fields


def _file(module: str) -> Path:
    place = PACKAGE.joinpath(*module.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _classes(file: Path) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in _tree(file).body if isinstance(node, ast.ClassDef)}


def imported_modules(file: Path) -> list[str]:
    """Modules from which a file imports by name, in its order."""
    return list(_imports(file).values())


def _imports(file: Path) -> dict[str, str]:
    """Module by name of what a file imports by name."""
    nodes = [node for node in _tree(file).body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name: node.module or "" for node in nodes for alias in node.names}
