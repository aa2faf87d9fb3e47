"""Hyperparameters of a user's own: `--hyperparameters=FILE`, in the form of `editors/defaults/`.

    hyperparameters/rome.toml
    ["my-model"]
    source = "where they come from"
    layers = [8]
    …

The file's name is the method. A folder holds one file a method; those of methods that are not run are read too. A table
goes by the model's name; a file without tables holds for any model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import editors
from editgate.errors import ConfigError
from editgate.inputs.files.user_files import is_dir, read_toml
from editors import HyperparameterError
from editors.core.hyperparameters import NOTES

OPTION = "--hyperparameters"


def read(place: Path, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the hyperparameters of each method that a file, or a folder of files, has for a model.

    Args:
        place: `METHOD.toml`, or a folder of such files.
        keys: the model's names, in lower case, the best first.

    Raises:
        ConfigError: a file cannot be read, its name is no method, it holds other models' tables only, or a method does
            not take a name or value.
    """
    files = sorted(place.glob("*.toml")) if is_dir(place) else [place]
    if not files:
        raise ConfigError(f"{OPTION} {str(place)!r} holds no METHOD.toml. Such as rome.toml.")
    found = {}
    for file in files:
        shown = f"{OPTION} {str(file)!r}"
        if file.stem not in editors.names():
            raise ConfigError(
                f"{shown}: {file.stem!r} is no method. Allowed: METHOD.toml of {_listed(editors.names())}."
            )
        settings = _of_model(read_toml(file, shown), keys, shown)
        try:
            editors.check_settings(file.stem, settings)
        except HyperparameterError as error:
            raise ConfigError(f"{shown}: {error}.") from error
        found[file.stem] = settings
    return found


def _of_model(content: Mapping[str, Any], keys: Sequence[str], shown: str) -> dict[str, Any]:
    tables = {name: table for name, table in content.items() if isinstance(table, dict)}
    if tables and len(tables) < len(content):
        bare = next(name for name in content if name not in tables)
        raise ConfigError(f"{shown}: {bare!r} stands outside of a table. Allowed: tables by model, or none at all.")
    if not tables:
        return _numbers(content)
    named = {alias.lower(): table for name, table in tables.items() for alias in (name, *_aliases(table, name, shown))}
    wanted = next((key for key in keys if key in named), None)
    if wanted is None:
        raise ConfigError(
            f"{shown} has tables for {_listed(sorted(tables))}, and this model goes by {_listed(keys)}. Rename one, or "
            "write the numbers without a table."
        )
    return _numbers(named[wanted])


def _aliases(table: Mapping[str, Any], name: str, shown: str) -> list[str]:
    aliases = table.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
        raise ConfigError(f"{shown}: aliases of {name!r} are {aliases!r}; allowed: a list of names.")
    return aliases


def _numbers(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name not in NOTES}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
