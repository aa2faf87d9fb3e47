"""Reads one file of `thresholds/`: a mistake names file, line, dotted key, value, and what is allowed."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from editgate.errors import ConfigError
from editgate.inputs.files.user_files import read_text, read_toml
from editgate.verdict.threshold_schema import DEFAULT, Contents, Names, listed, model_name

MAX_SHOWN_PROBLEMS = 2  # the others are counted
LONGEST_FILE = 1000  # lines in which a key is looked for
SAYS_ALL = frozenset(
    {"missing", "value_error", "unknown_key", "too_short"}
)  # types of errors whose sentence needs no value


@dataclass(frozen=True, slots=True)
class ThresholdFile:
    """One file that was read.

    Attributes:
        shown: its name for people.
        editor: the only one it is about; None: all, it is policy.
        model: the only one it is about, that of its folder; None: all, but where it says so.
        contents: what it says.
    """

    shown: str
    editor: str | None
    model: str | None
    contents: Contents


def read_file(path: Path, shown: str, names: Names, folder: str = "") -> ThresholdFile:
    """Read and check one file.

    Args:
        path: where it is.
        shown: its name for people.
        names: what it may speak about.
        folder: the folder of a model that it is in, which says the only model that it is about.

    Raises:
        ConfigError: it cannot be read, is malformed, or names something that does not exist.
    """
    data = read_toml(path, shown)
    if path.stem != DEFAULT and "editor" not in data:
        data["editor"] = path.stem
        if path.stem not in names.editors:
            raise ConfigError(
                f'{shown}: editor: no editor is called {path.stem!r}, as this file is; put editor = "NAME" at the '
                f"top. Allowed: {listed(names.editors)}"
            )
    model = _of_folder(folder, data, names, shown) if folder else None
    try:
        contents = Contents.model_validate(data, context=names)
    except ValidationError as error:
        raise ConfigError(_problems(path, shown, error)) from error
    if contents.editor is None and contents.known_failures:
        raise ConfigError(f"{shown}: known_failures: not allowed for all editors; they belong in <editor>.toml")
    if contents.editor is not None and contents.at_chance:
        raise ConfigError(f"{shown}: at_chance: what an unedited model guesses at belongs in {DEFAULT}.toml")
    if contents.editor is not None and contents.benchmarks:
        raise ConfigError(f"{shown}: benchmarks: how a benchmark is judged is the same for all editors: {DEFAULT}.toml")
    if contents.multiplicity is not None and (contents.editor is not None or folder):
        raise ConfigError(f"{shown}: multiplicity: it is the same for all editors and models: {DEFAULT}.toml")
    named = {table.model for table in contents.known_failures} | {table.model for table in contents.at_chance}
    if model is not None and named - {model}:
        raise ConfigError(
            f"{shown}: model: {listed(named - {model})} is not allowed here; the folder is that of {model}"
        )
    return ThresholdFile(shown, contents.editor, model, contents)


def _of_folder(folder: str, data: dict[str, Any], names: Names, shown: str) -> str:
    """Return the model whose folder it is, after writing it into the tables that need a model."""
    try:
        model = model_name(folder, names.models)
    except ValueError as error:
        raise ConfigError(f"{shown}: {error}") from error
    if "model" in data:
        raise ConfigError(f"{shown}: model: not allowed here; the folder says which, write floors without [model.…]")
    for tables in (data.get("known_failures"), data.get("at_chance")):
        for table in tables if isinstance(tables, list) else [tables]:
            if isinstance(table, dict):
                table.setdefault("model", model)
    return model


def _problems(path: Path, shown: str, error: ValidationError) -> str:
    found = error.errors()
    text = read_text(path, shown)
    lines = [f"{shown}{_line_of(text, problem)}: {_sentence(problem)}" for problem in found[:MAX_SHOWN_PROBLEMS]]
    if len(found) > MAX_SHOWN_PROBLEMS:
        lines.append(f"{shown}: and {len(found) - MAX_SHOWN_PROBLEMS} more")
    return "\n".join(lines)


def _line_of(text: str, problem: ErrorDetails) -> str:
    """Return ", line N" of where the faulty key first stands; nothing where the file does not have it.

    tomllib tells no places: so ever longer beginnings of the file are read until the key is there.
    """
    key = problem.get("ctx", {}).get("key")
    wanted = [*problem["loc"], *([key] if key else [])]
    if problem["type"] == "missing":
        wanted.pop()
    lines = text.split("\n")
    for count in range(1, min(len(lines), LONGEST_FILE) + 1):
        try:
            data = tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue  # in the middle of a statement
        if wanted and _holds(data, wanted):
            return f", line {count}"
    return ""


def _holds(data: Any, path: Sequence[str | int]) -> bool:  # noqa: ANN401 - whatever TOML can say
    """Return whether there is something at a key's path; what the schema wraps or takes apart counts as reached."""
    for step in path:
        if isinstance(data, dict) and str(step) in data:
            data = data[str(step)]
        elif isinstance(data, list) and isinstance(step, int):
            if step >= len(data):
                return False
            data = data[step]
        elif isinstance(data, dict) and step not in {0, "[key]"}:
            return False
    return True


def _sentence(problem: ErrorDetails) -> str:
    """Return key, pydantic's sentence and the value; that of several tables in a list which it is, from 0."""
    steps = [
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in problem["loc"] if step not in {0, "[key]"}
    ]
    key = "".join(steps).removeprefix(".")
    said = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        said = "missing; every number needs its reason" if key.endswith("reason") else "missing"
    value = "" if problem["type"] in SAYS_ALL else f", not {problem['input']!r}"
    return f"{key}: {said}{value}" if key else said + value
