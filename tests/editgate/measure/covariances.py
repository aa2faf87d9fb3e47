"""Second moments of a model's own inputs: one entry a matrix, for all methods, hyperparameters and edits.

On a large model they are what takes longest, and depend on neither. ROME, MEMIT and their kin are handed what lies in
the store, so that another method or another learning rate does not read the corpus again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import editors
from editgate.cache.fingerprint import code_digest
from editgate.cache.store import Store
from editors.locate.base import LocateEditor
from editors.models.covariance import compute_covariances

MODELS = Path(editors.__file__).parent / "models"  # what decides the numbers
ENTRY = "moment"


def supply(
    editor: LocateEditor, store: Store, conditions: Mapping[str, object], announce: Callable[[str], None]
) -> None:
    """Hand the editor the second moments that it is missing, computing those that are not stored.

    Args:
        editor: Its model is pristine, and it has a corpus among its supplies.
        store: Where they lie, by matrix.
        conditions: What they depend on besides matrix and code: model, tokenizer, corpus, precision, versions.
        announce: Told what computing them will take, before it begins.
    """
    code = code_digest(MODELS)
    keys = {matrix.path: Store.key(**conditions, matrix=matrix.path, code=code) for matrix in editor.missing}
    with store.lock("moments", Store.key(**conditions)):
        stored = {path: store.load_tensors("moments", key) for path, key in keys.items()}
        editor.load_prepared({path: entry[ENTRY] for path, entry in stored.items() if entry is not None})
        if missing := editor.missing:
            announce(f"computing {editor.cost()}")
            made = compute_covariances(editor.architecture, editor.tokenizer, editor.resources.corpus or (), missing)
            for path, moment in made.items():
                store.save_tensors("moments", keys[path], {ENTRY: moment})
            editor.load_prepared(made)
