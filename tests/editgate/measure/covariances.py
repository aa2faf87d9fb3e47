"""Covariances (uncentered) of each matrix's inputs: stored by matrix, for all methods, hyperparameters and edits.

They take longest on a large model, and depend on neither method nor edits. ROME, MEMIT and related methods get the
stored ones, so that another method or another learning rate does not read the corpus again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

import editors
from editgate.cache.digest import code_digest
from editgate.cache.environment import conditions
from editgate.cache.store import Store
from editgate.cache.stored_tensors import StoredTensors
from editgate.inputs.unedited_model import UneditedModel
from editgate.measure import remembered
from editgate.measure.threads import single_threaded
from editgate.measure.time_spent import spending
from editors.locate.base import LocateEditor
from editors.models.architecture import Architecture
from editors.models.covariance import compute_covariances, cost
from editors.models.projection import Matrix

MODELS = Path(editors.__file__).parent / "models"  # what decides the numbers


def supply(editor: LocateEditor, base: UneditedModel, store: Store, announce: Callable[[str], None]) -> None:
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
    base: UneditedModel,
    store: Store,
    announce: Callable[[str], None],
) -> Mapping[str, Tensor]:
    """Return the covariance C [f, f] of each matrix's inputs by its path, computing those that are not stored.

    All of them together may be as large as a fifth of the model. So each is read whenever it is asked for, if the
    model is in main memory too.

    Args:
        architecture: Of the base, or of a pristine copy.
        matrices: Of the same model.
        base: The unedited model, whose source has the corpus.
        store: Where they are, by matrix.
        announce: Called with what computing them will take, before it begins.
    """
    texts, given = base.source.corpus(), _given(base, store)
    stored = StoredTensors(store, "covariances", _keys(given, matrices))
    with store.lock("covariances", Store.key(**given)), single_threaded(base):
        if paths := stored.missing():
            missing = [matrix for matrix in matrices if matrix.path in paths]
            announce(f"computing {cost(architecture, base.tokenizer, texts, missing)}")
            scratch = (
                store.root / "training" / Store.key(unfinished="covariances", code=code_digest(MODELS), **given)[:16]
            )
            with spending("computing covariances"), store.scratch():
                compute_covariances(architecture, base.tokenizer, texts, missing, scratch, keep=stored.save)
            with suppress(OSError):  # there is none, or sums of other matrices are in it that somebody's pass will need
                scratch.rmdir()
    return stored.beside(base.model)


def missing(matrices: Sequence[Matrix], base: UneditedModel, store: Store) -> list[Matrix]:
    """Return those of the matrices whose covariances are not stored."""
    keys = _keys(_given(base, store), matrices)
    return [matrix for matrix in matrices if not store.path("covariances", keys[matrix.path], "safetensors").exists()]


def _given(base: UneditedModel, store: Store) -> dict[str, Any]:
    return conditions(base) | {"corpus": remembered.corpus_digest(base, store)}


def _keys(given: Mapping[str, Any], matrices: Sequence[Matrix]) -> dict[str, str]:
    code = code_digest(MODELS)
    return {matrix.path: Store.key(**given, matrix=matrix.path, code=code) for matrix in matrices}
