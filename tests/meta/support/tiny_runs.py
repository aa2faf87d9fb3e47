"""A tiny model as the gate loads one, for tests that ask about trajectories and rules without a benchmark."""

from __future__ import annotations

from pathlib import Path

from editgate.cache.digest import digest_tensors, digest_text
from editgate.cache.store import Store
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import SHIPPED, ModelSource
from editgate.inputs.unedited_model import LoadedModel
from editgate.measure.trajectory import Trajectory
from meta.support import tiny_models as tiny


def loaded(folder: Path) -> LoadedModel:
    """Return a tiny model whose tokenizer is read from `folder`, as a model's own is, and shared with no other test."""
    tokenizer = tiny.tokenizer()
    tokenizer.save_pretrained(folder)
    source = ModelSource("tiny", str(folder), SHIPPED, list, tuple, miniature=False)
    model = tiny.model()
    own = type(tokenizer).from_pretrained(folder)
    return LoadedModel(source, model, own, digest_tensors(dict(model.named_parameters())), digest_text("tiny"))


def trajectory(folder: Path, target: str, **settings: object) -> Trajectory:
    """Return the trajectory of an editor on a tiny model; `folder` holds its tokenizer and its store."""
    spec = EditorSpec(target.rpartition(":")[2].lower(), target, settings)
    return Trajectory(spec, loaded(folder / "model"), tiny.EDITS, (2,), Store(folder / "store"))
