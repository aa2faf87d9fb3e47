"""Whether a method can edit a model at all, told in seconds: tried on the model's modules, before weights are read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from editgate.inputs import model_loading
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import ModelSource
from editgate.inputs.unedited_model import LoadedModel
from editors import HyperparameterError, UnsupportedModel
from editors.external import hooks

if TYPE_CHECKING:
    from editors import Editor


def refusals(pairs: Iterable[tuple[EditorSpec, ModelSource]]) -> list[str]:
    """Return a sentence for each pair of a method and a model's directory that do not go together.

    Models on the hub are left out, which are not here yet, and shipped ones with built-in methods, which go with all.
    """
    found: list[str] = []
    bases: dict[str, LoadedModel] = {}
    for spec, source in pairs:
        asked = spec.checks_models or (spec.built_in and not source.miniature)
        if not asked or not Path(source.location).is_dir():
            continue
        if source.name not in bases:
            model = model_loading.modules("--model", source.location)
            words = model_loading.load_tokenizer("--model", source.location)
            bases[source.name] = LoadedModel(source, model, words, "", "")
        found += _refusal(spec, bases[source.name])
    return found


def _refusal(spec: EditorSpec, base: LoadedModel) -> Sequence[str]:
    """What a method says of modules that have shapes and no values: its constructor and its choice of matrices.

    Somebody else's is not constructed before it is run; it may have a check of its own.
    """
    try:
        if not spec.built_in:
            hooks.check_model(spec.target, spec.settings, base.model)
            return []
        editor: Editor = spec.create(base.model, base)
        getattr(editor, "matrices", None)
    except (UnsupportedModel, HyperparameterError) as error:
        return [f"{spec.name} cannot edit {base.source.name}: {error}."]
    except (NotImplementedError, RuntimeError):  # it needs values: what it says of them is said when it is run
        return []
    return []
