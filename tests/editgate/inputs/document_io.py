"""Reads files of benchmark documents; an error names the file and the line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from editgate.errors import ConfigError


def splits(folder: Path) -> dict[str, Path]:
    """Return the .json and .jsonl files of a folder, by name without suffix: the splits."""
    return {path.stem: path for path in sorted(folder.glob("*.json*")) if path.suffix in {".json", ".jsonl"}}


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a settings file.

    Raises:
        ConfigError: it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML ({error}).") from None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the documents of one .jsonl or .json file.

    Raises:
        ConfigError: not JSON, not a list of objects, or empty; names the file and the line.
    """
    text = path.read_text(encoding="utf-8")
    # Not splitlines(): U+2028 and U+0085 end no line in JSON, and public files have them inside strings.
    lines = text.removesuffix("\n").split("\n") if path.suffix == ".jsonl" else [text]
    rows: list[Any] = []
    for number, line in enumerate(lines if text else [], start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{path}, line {number}: not JSON ({error.msg}).") from None
        rows += _listed(row) if path.suffix == ".json" else [row]
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{path}: expected a list of documents, each a JSON object, and at least one.")
    return rows


def _listed(content: object) -> list[Any]:
    """Return the list in a .json file, or in BBH's files under `examples`; else its one document."""
    if isinstance(content, Mapping) and set(content) == {"canary", "examples"}:
        content = content["examples"]
    return content if isinstance(content, list) else [content]
