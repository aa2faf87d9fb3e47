"""Which editors lack hyperparameters for a model, told at collection, once, with what can be done about it.

A rule of thumb is offered as text to paste and is never taken by itself: relative depth, as published for a relative.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import try_to_load_from_cache

from editgate import inert
from editgate.errors import ConfigError
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.files import model_files, user_files
from editgate.inputs.hyperparameter_files import OPTION
from editgate.inputs.models import ModelSource
from editors.core.declared import declared_names, required_names
from editors.core.hyperparameters import defaults, known_names

SHOWN = 3  # editors whose tables are offered in full
FILE = "hyperparameters.toml"


class Relative(NamedTuple):
    """A model with published hyperparameters, how people call it, and its number of blocks."""

    key: str
    name: str
    depth: int


RELATIVES = (
    Relative("llama-2-7b", "Llama-2-7B", 32),
    Relative("llama-3-8b", "Llama-3-8B", 32),
    Relative("gpt-j-6b", "GPT-J", 28),
    Relative("gpt2-xl", "GPT-2 XL", 48),
)
OF_FAMILY = {"gpt2": "gpt2-xl", "gptj": "gpt-j-6b"}  # by config.json's model_type; of all others the first


def missing(spec: EditorSpec, source: ModelSource) -> list[str]:
    """Return the hyperparameters that nobody gave: neither the shipped tables, nor a file, nor `--editor-arg`."""
    if not spec.built_in:
        return []
    key = source.hyperparameters or Path(source.location).name.lower()
    given = {*(defaults(spec.name, key) or {}), *known_names(declared_names(spec.name), spec.name, spec.settings)}
    return [name for name in required_names(spec.name) if name not in given]


def lacking(pairs: Iterable[tuple[EditorSpec, ModelSource]]) -> dict[ModelSource, list[EditorSpec]]:
    """Return the editors that lack some, by model; models without any are left out."""
    found: dict[ModelSource, list[EditorSpec]] = {}
    for spec, source in pairs:
        if missing(spec, source):
            found.setdefault(source, []).append(spec)
    return found


def explain(source: ModelSource, specs: Sequence[EditorSpec]) -> str:
    """Return what is missing for a model and how to give it, for people."""
    names = [spec.name for spec in specs]
    depth, family = _shape(source)
    model = inert.shell(str(source.file or source.location))
    lacks = f"{', '.join(missing(specs[0], source))} of {names[0]}"
    search = f"python -m editgate.tune {model} --editor={names[0]} --edits=FILE"
    lines = [
        f"{source.name}: no hyperparameters for {', '.join(names)} (such as {lacks}).",
        f"Search them: {search}. Or write them into a file.",
        f"Both are given by {OPTION}=FILE; single ones, to one --editor, by --editor-arg=NAME=VALUE.",
    ]
    tables = [(name, rule_of_thumb(name, depth, family)) for name in names] if depth else []
    offered = [f"[{name}]  # {table}" for name, table in tables if table][:SHOWN]
    if offered:
        more = f" Of the others: --editor={names[SHOWN]}, and so on." if len(names) > SHOWN else ""
        lines += [
            "Rule of thumb, tried by nobody on this model: a relative's published numbers at the same relative depth.",
            f"To take it, save as {FILE} and give {OPTION}={FILE}.{more}",
            *offered,
        ]
    return "\n".join(lines)


def rule_of_thumb(method: str, depth: int, family: str) -> str:
    """Return a relative's published hyperparameters with its layers moved to the same relative depth, as TOML."""
    nearest = OF_FAMILY.get(family, RELATIVES[0].key)
    for relative in sorted(RELATIVES, key=lambda each: each.key != nearest):
        shipped = defaults(method, relative.key)
        if shipped is not None:
            values = _moved(shipped, relative.depth, depth)
            before, after = (table.get("layers", table.get("layer")) for table in (shipped, values))
            note = f"{relative.name}: layers {before} of {relative.depth}, here {after} of {depth}"
            return "\n".join([note, *(f"{name} = {json.dumps(value)}" for name, value in values.items())])
    return ""


def _moved(values: Mapping[str, Any], old: int, new: int) -> dict[str, Any]:
    """The same numbers for a model of another depth; the loss is read from the last block again."""

    def scaled(layer: int) -> int:
        return min(round(layer * new / old), new - 1)

    moved = dict(values)
    if "layers" in moved:
        moved["layers"] = sorted({scaled(layer) for layer in moved["layers"]})
    if "layer" in moved:
        moved["layer"] = scaled(moved["layer"])
    if moved.get("v_loss_layer") == old - 1:
        moved["v_loss_layer"] = new - 1
    return moved


def _shape(source: ModelSource) -> tuple[int, str]:
    """Return a model's number of blocks, 0 if its config.json does not say or is not here, and its family."""
    folder = Path(source.location)
    if not user_files.is_dir(folder):
        cached = try_to_load_from_cache(source.location, "config.json")
        if not isinstance(cached, str):
            return 0, ""
        folder = Path(cached).parent
    try:
        config = model_files.read_config("--model", folder)
    except ConfigError:  # said where the model is loaded
        return 0, ""
    text = config.get("text_config")
    inner = text if isinstance(text, dict) else config
    depth = inner.get("num_hidden_layers", inner.get("n_layer", 0))
    return (depth if isinstance(depth, int) else 0), str(config.get("model_type", ""))
