"""Covariances (uncentered) of each matrix's inputs: stored by matrix, for all methods, hyperparameters and edits.

They take longest on a large model, and depend on neither method nor edits. ROME, MEMIT and related methods get the
stored ones, so that another method or another learning rate does not read the corpus again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

import editors
from editgate.cache.digest import code_digest, digest_text
from editgate.cache.environment import conditions
from editgate.cache.store import Store
from editgate.inputs.models import LoadedModel
from editgate.measure.threads import single_threaded
from editgate.measure.time_spent import spending
from editors.locate.base import LocateEditor
from editors.models.architecture import Architecture
from editors.models.covariance import compute_covariances, cost
from editors.models.projection import Matrix

MODELS = Path(editors.__file__).parent / "models"  # what decides the numbers
ENTRY = "covariance"


def supply(editor: LocateEditor, base: LoadedModel, store: Store, announce: Callable[[str], None]) -> None:
    """Give the editor the covariances that it is missing, computing those that are not stored.

    Args:
        editor: Its model is a pristine copy of the base.
        base: The unedited model.
        store: Where they are, by matrix.
        announce: Called with what computing them will take, before it begins.
    """
    editor.load_prepared(covariances_of(editor.architecture, editor.missing, base, store, announce))


def covariances_of(
    architecture: Architecture,
    matrices: Sequence[Matrix],
    base: LoadedModel,
    store: Store,
    announce: Callable[[str], None],
) -> dict[str, Tensor]:
    """Return the covariance C [f, f] of each matrix's inputs by its path, computing those that are not stored.

    Args:
        architecture: Of the base, or of a pristine copy.
        matrices: Of the same model.
        base: The unedited model, whose source has the corpus.
        store: Where they are, by matrix.
        announce: Called with what computing them will take, before it begins.
    """
    texts, given = base.source.corpus(), _given(base)
    keys = _keys(given, matrices)
    with store.lock("covariances", Store.key(**given)), single_threaded(base):
        stored = {path: store.load_tensors("covariances", key) for path, key in keys.items()}
        found = {path: entry[ENTRY] for path, entry in stored.items() if entry and ENTRY in entry}
        if missing := [matrix for matrix in matrices if matrix.path not in found]:
            announce(f"computing {cost(architecture, base.tokenizer, texts, missing)}")
            paths = {matrix.path: keys[matrix.path] for matrix in missing}
            scratch = store.root / "training" / Store.key(unfinished="covariances", **paths)[:16]
            with spending("computing covariances"), store.scratch():
                made = compute_covariances(architecture, base.tokenizer, texts, missing, scratch)
            for path, moment in made.items():
                store.save_tensors("covariances", keys[path], {ENTRY: moment})
            shutil.rmtree(scratch, ignore_errors=True)
            found |= made
    return found


def missing(matrices: Sequence[Matrix], base: LoadedModel, store: Store) -> list[Matrix]:
    """Return those of the matrices whose covariances are not stored."""
    keys = _keys(_given(base), matrices)
    return [matrix for matrix in matrices if not store.path("covariances", keys[matrix.path], "safetensors").exists()]


def _given(base: LoadedModel) -> dict[str, Any]:
    return conditions(base) | {"corpus": digest_text("\n".join(base.source.corpus()))}


def _keys(given: Mapping[str, Any], matrices: Sequence[Matrix]) -> dict[str, str]:
    code = code_digest(MODELS)
    return {matrix.path: Store.key(**given, matrix=matrix.path, code=code) for matrix in matrices}
