"""Covariances (uncentered) of each matrix's inputs: stored by matrix, for all methods, hyperparameters and edits.

They take longest on a large model, and depend on neither method nor edits. ROME, MEMIT and related methods get the
stored ones, so that another method or another learning rate does not read the corpus again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import editors
from editgate.cache.digest import code_digest
from editgate.cache.store import Store
from editors.locate.base import LocateEditor
from editors.models.covariance import compute_covariances

MODELS = Path(editors.__file__).parent / "models"  # what decides the numbers
ENTRY = "covariance"


def supply(
    editor: LocateEditor, store: Store, conditions: Mapping[str, object], announce: Callable[[str], None]
) -> None:
    """Give the editor the covariances that it is missing, computing those that are not stored.

    Args:
        editor: Its model is pristine, and it has a corpus among its resources.
        store: Where they are, by matrix.
        conditions: What they depend on besides matrix and code: model, tokenizer, corpus, precision, versions.
        announce: Called with what computing them will take, before it begins.
    """
    code = code_digest(MODELS)
    keys = {matrix.path: Store.key(**conditions, matrix=matrix.path, code=code) for matrix in editor.missing}
    with store.lock("covariances", Store.key(**conditions)):
        stored = {path: store.load_tensors("covariances", key) for path, key in keys.items()}
        editor.load_prepared({path: entry[ENTRY] for path, entry in stored.items() if entry and ENTRY in entry})
        if missing := editor.missing:
            announce(f"computing {editor.cost()}")
            paths = {matrix.path: keys[matrix.path] for matrix in missing}
            scratch = store.root / "training" / Store.key(unfinished="covariances", **paths)[:16]
            texts = editor.resources.corpus or ()
            with store.scratch():
                made = compute_covariances(editor.architecture, editor.tokenizer, texts, missing, scratch)
            for path, moment in made.items():
                store.save_tensors("covariances", keys[path], {ENTRY: moment})
            shutil.rmtree(scratch, ignore_errors=True)
            editor.load_prepared(made)
