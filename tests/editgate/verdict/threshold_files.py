"""Reads one file of `thresholds/`: a mistake names the file, the dotted key, the value and what is allowed."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from editgate.errors import ConfigError
from editgate.verdict.threshold_schema import DEFAULT, Contents, Names, listed, model_name

MAX_SHOWN_PROBLEMS = 2  # the others are counted
SAYS_ALL = frozenset({"missing", "value_error", "too_short"})  # types of errors whose sentence needs no value


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
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"{shown}: cannot be read ({reason})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{shown}: not valid TOML: {error}") from error
    if path.stem != DEFAULT:
        data.setdefault("editor", path.stem)
    model = _of_folder(folder, data, names, shown) if folder else None
    try:
        contents = Contents.model_validate(data, context=names)
    except ValidationError as error:
        raise ConfigError(_problems(shown, error)) from error
    if contents.editor is None and contents.known_failures:
        raise ConfigError(f"{shown}: known_failures: not allowed for all editors; they belong in <editor>.toml")
    if contents.editor is not None and contents.at_chance:
        raise ConfigError(f"{shown}: at_chance: what an unedited model guesses at belongs in {DEFAULT}.toml")
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


def _problems(shown: str, error: ValidationError) -> str:
    found = error.errors()
    lines = [f"{shown}: {_sentence(problem)}" for problem in found[:MAX_SHOWN_PROBLEMS]]
    if len(found) > MAX_SHOWN_PROBLEMS:
        lines.append(f"{shown}: and {len(found) - MAX_SHOWN_PROBLEMS} more")
    return "\n".join(lines)


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
