"""Hyperparameters of a user's own: a file in the form of `editors/defaults/`, a table for each editor, or a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import editors
from editgate.errors import ConfigError
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.files.user_files import is_dir, is_file, read_toml
from editgate.inputs.models import ModelSource
from editors import EditorError
from editors.core.hyperparameters import NOTES

OPTION = "--hyperparameters"
Tables = Mapping[str, Mapping[str, Any]]


def read(place: Path, specs: Sequence[EditorSpec], chosen: Sequence[str], model: ModelSource) -> dict[str, Any]:
    """Return the hyperparameters for one model, by editor.

    Args:
        place: FILE.toml or a folder of `EDITOR.toml`.
        specs: All editors that may run.
        chosen: The names that `--editor` gave.
        model: The model that they are for.

    Raises:
        ConfigError: there is no such file, it is in none of these forms, it is for other models, or an editor has no
            such hyperparameter.
    """
    known = {spec.name: spec for spec in specs}
    if is_dir(place):
        files = {path.stem: path for path in sorted(place.glob("*.toml")) if path.stem in known}
        if not files:
            raise ConfigError(f"{OPTION} {str(place)!r} holds no file EDITOR.toml. Allowed: {', '.join(known)}.")
        tables = {editor: _tables(path) for editor, path in files.items()}
    elif is_file(place):
        files, found = {}, _tables(place)
        if set(found) <= set(known):
            return {name: _checked(place, known[name], values) for name, values in found.items()}
        editor = _editor(place, found, list(known), chosen)
        tables, files = {editor: found}, {editor: place}
    else:
        raise ConfigError(f"{OPTION} {str(place)!r} is neither a TOML file nor a folder of them.")
    matching = {editor: values for editor, found in tables.items() if (values := _of_model(found, model)) is not None}
    if not matching:
        there = ", ".join(dict.fromkeys(key for found in tables.values() for key in found)) or "none"
        raise ConfigError(
            f"{OPTION} {str(place)!r} has nothing for the model {model.name}; it has {there}. Allowed as a table's "
            f"name, or in its aliases: {', '.join(sorted(_names(model)))}."
        )
    return {editor: _checked(files[editor], known[editor], values) for editor, values in matching.items()}


def _tables(path: Path) -> Tables:
    found = read_toml(path, f"{OPTION} {str(path)!r}")
    bare = [name for name, value in found.items() if not isinstance(value, dict)]
    if bare or not found:
        what = f"{bare[0]} stands outside of a table" if bare else "it is empty"
        raise ConfigError(f"{OPTION} {str(path)!r}: {what}. Allowed: tables such as [rome], or [MODEL] in rome.toml.")
    return found


def _editor(path: Path, found: Tables, known: Sequence[str], chosen: Sequence[str]) -> str:
    """Return which editor a file of tables for models is about: by its name, or the only one that was chosen."""
    if mixed := [name for name in found if name in known]:
        raise ConfigError(f"{OPTION} {str(path)!r} has tables for editors ({mixed[0]}) and for others. Give two files.")
    if path.stem in known:
        return path.stem
    if len(chosen) == 1:
        return chosen[0]
    raise ConfigError(
        f"{OPTION} {str(path)!r} has tables for {', '.join(found)}, which name no editor. Call the file EDITOR.toml "
        "(such as rome.toml), name the tables by editor ([rome]), or give one --editor."
    )


def _names(model: ModelSource) -> set[str]:
    """Return what a model may be called in a table's name, all in lower case."""
    last = model.location.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return {name.lower() for name in (model.hyperparameters, model.name, last, *model.keys) if name}


def _of_model(found: Tables, model: ModelSource) -> Mapping[str, Any] | None:
    names = _names(model)
    for key, values in found.items():
        aliases = values.get("aliases", [])
        if names & {str(name).lower() for name in (key, *(aliases if isinstance(aliases, list) else [aliases]))}:
            return values
    return None


def _checked(path: Path, spec: EditorSpec, values: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in values.items() if name not in NOTES}
    try:
        editors.check_settings(spec.target, settings)
    except EditorError as error:
        raise ConfigError(f"{OPTION} {str(path)!r}: {error}.") from error
    return settings
