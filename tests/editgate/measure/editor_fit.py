"""Whether a method can edit a model at all, told in seconds: tried on the model's modules, before weights are read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from editgate import inert
from editgate.errors import ConfigError
from editgate.inputs import model_loading
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import LoadedModel, ModelSource
from editgate.tune.space import Space
from editors import HyperparameterError, UnsupportedModel
from editors.core.registry import built_in as built_in_class
from editors.models.architecture import Architecture

if TYPE_CHECKING:
    from editors import Editor


def refusals(pairs: Iterable[tuple[EditorSpec, ModelSource]]) -> list[str]:
    """Return a sentence for each pair of a built-in method and a model's directory that do not go together.

    Shipped models and models on the hub are left out: the former go with all methods, the latter are not here yet.
    """
    found: list[str] = []
    bases: dict[str, LoadedModel] = {}
    for spec, source in pairs:
        if source.miniature or not spec.built_in or not Path(source.location).is_dir():
            continue
        if source.name not in bases:
            model = model_loading.modules("--model", source.location)
            words = model_loading.load_tokenizer("--model", source.location)
            bases[source.name] = LoadedModel(source, model, words, "", "")
        found += _refusal(spec, bases[source.name])
    return found


def _refusal(spec: EditorSpec, base: LoadedModel) -> Sequence[str]:
    """What the method's constructor says, and its choice of matrices; the modules have shapes and no values."""
    try:
        editor: Editor = spec.create(base.model, base)
        getattr(editor, "matrices", None)
    except (UnsupportedModel, HyperparameterError) as error:
        hint = _rule_of_thumb(spec, base) if isinstance(error, HyperparameterError) and not spec.settings else ""
        return [f"{spec.name} cannot edit {base.source.name}: {error}.{hint}"]
    except (NotImplementedError, RuntimeError):  # it needs values: what it says of them is said when it is run
        return []
    return []


def _rule_of_thumb(spec: EditorSpec, base: LoadedModel) -> str:
    """How to find hyperparameters, and a place to begin that nobody has tried on this model."""
    try:
        space = Space.of(spec.name)
    except ConfigError:  # a method that is not tuned
        return ""
    where = base.source.file or base.source.location
    record = built_in_class(spec.name).Hyperparameters.model_fields
    usual = space.published_place(Architecture(base.model).depth, one_layer="layer" in record)
    lines = "\n".join(f"    {name} = {json.dumps(value)}" for name, value in usual.items())
    return (
        f" Search them: python -m editgate.tune {inert.shell(str(where))} --editor={spec.name} --edits=FILE "
        f"--covariance-text=FILE. Or write {spec.name}.toml and give --hyperparameters={spec.name}.toml; a rule of "
        f"thumb, the depth that was published for Llama-2-7B and tried by nobody on this model, is\n{lines}\n"
    )
