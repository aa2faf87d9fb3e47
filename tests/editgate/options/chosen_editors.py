"""Which editors a run judges, with their hyperparameters and the size of their batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from editgate.errors import ConfigError
from editgate.inputs import editor_specs, hyperparameter_files
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import Sources
from editgate.measure import external_checkpoint
from editgate.options.options import Options


def read(options: Options, bases: Sources, store: Path) -> list[EditorSpec]:
    """The editors that `--editor` names, or the changed model that `--edited` does."""
    changed = editor_specs.parse_settings(options.editor_arg)
    if changed and len(options.editor) != 1:
        raise ConfigError(
            f"--editor-arg {options.editor_arg[0]!r} needs exactly one --editor, not {len(options.editor)}."
        )
    found = [editor_specs.find(name, changed) for name in options.editor]
    if options.edited:
        found.append(_external_checkpoint(options.edited, bases, found, store))
    _refuse_namesakes(found)
    return found


def by_name(options: Options, specs: Sequence[EditorSpec], chosen: Sources) -> dict[str, EditorSpec]:
    """Return the editors by name, with what `--hyperparameters` says of each; `--editor-arg` goes before it."""
    by_name = {spec.name: spec for spec in specs}
    if options.hyperparameters is None:
        return by_name
    option = f"{hyperparameter_files.OPTION} {str(options.hyperparameters)!r}"
    if options.edited:
        raise ConfigError(f"{option}: --edited {options.edited} was changed elsewhere. Allowed: with an editor.")
    if len(chosen) != 1:
        raise ConfigError(f"{option} is for one model, not {', '.join(chosen)}. Give it: --model NAME|DIR|HUB_ID.")
    (model,) = chosen.values()
    named = [spec.name for spec in specs[len(editor_specs.built_in()) :]]
    given = hyperparameter_files.read(options.hyperparameters, list(by_name.values()), named, model)
    return {name: replace(spec, settings={**given.get(name, {}), **spec.settings}) for name, spec in by_name.items()}


def batch_size(options: Options) -> int:
    """Return how many edits are applied at once."""
    size = options.batch_size
    if size < 1:
        raise ConfigError(f"--batch-size is {size}; allowed: at least 1.")
    if size > 1 and options.edited:
        raise ConfigError(
            f"--batch-size {size}: --edited {options.edited} was changed elsewhere. Allowed: an --editor."
        )
    return size


def _refuse_namesakes(editors: Sequence[EditorSpec]) -> None:
    by_name: dict[str, EditorSpec] = {}
    for spec in editors:
        other = by_name.setdefault(spec.name, spec)
        if other.target != spec.target:
            raise ConfigError(
                f"--editor {spec.target!r} and --editor {other.target!r} are both called {spec.name!r}. "
                "Allowed: one of them at a time."
            )


def _external_checkpoint(folder: Path, bases: Sources, editors: Sequence[EditorSpec], store: Path) -> EditorSpec:
    if editors:
        raise ConfigError(f"--edited {folder} and --editor {editors[0].name}: allowed is one of them.")
    if len(bases) != 1:
        raise ConfigError(f"--edited {folder} has one base, not {', '.join(bases)}. Give it: --model NAME|DIR|HUB_ID.")
    (base,) = bases.values()
    return external_checkpoint.find(folder, base, [spec.name for spec in editor_specs.built_in()], store)
