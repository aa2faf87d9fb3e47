"""What the store remembers so that a run that finds all of its answers there loads no model and reads no question.

Keys of answers are made of digests: of weights in memory, of prompts as a tokenizer cut them, of a corpus. These depend
on nothing but files, code and versions of libraries. So they are stored as well, under what they depend on. What comes
from the hub has no such files, and is read in each run.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import editors
from editgate.cache import fingerprint
from editgate.cache.digest import code_digest, digest_text
from editgate.cache.environment import versions
from editgate.cache.store import Form, Store, form_of
from editgate.inputs import models
from editgate.inputs.files import model_files
from editgate.inputs.models import MadeTexts, ModelSource
from editgate.inputs.unedited_model import UneditedModel

LOADING = Path(editors.__file__).parent / "core"  # beside `inputs`: it says which tensors a model has, and digests them


def remember(store: Store, kind: str, key: str | None, compute: Callable[[], Any], form: Form) -> Any:  # noqa: ANN401 - as `form` says
    """Return what `compute` returned under this key once; without a key compute it.

    No other process waits for it: each needs what is computed on the way, once it is asked for anything else.
    """
    found = store.load_json(kind, key, form) if key is not None else None
    if found is not None:
        return found
    made = compute()
    return made if key is None or store.failure else store.fetch_json(kind, key, lambda: made, form)


def identity_key(source: ModelSource, *, device: str, dtype: str) -> str | None:
    """Return what the identity of a loaded model depends on, or None if that cannot be told from files.

    With `--device=auto` it also depends on how much memory is free.
    """
    folder = models.folder_of(source)
    if folder is None or device == "auto":
        return None
    return Store.key(
        files=model_files.digest(folder), device=device.partition(":")[0], dtype=dtype, **code_and_libraries()
    )


def corpus_digest(base: UneditedModel, store: Store) -> str:
    """Return a digest of the texts for covariances."""
    corpus = base.source.corpus
    key = Store.key(made_from=corpus.made_from(), **code_and_libraries()) if isinstance(corpus, MadeTexts) else None
    return str(remember(store, "corpus", key, lambda: digest_text("\n".join(corpus())), form_of(str)))


def code_and_libraries() -> dict[str, Any]:
    """Return what everything remembered depends on, fit for a key."""
    code = [fingerprint.code_of(*fingerprint.SCORING), code_digest(LOADING)]
    return {"code": code, "machine": platform.machine(), "python": platform.python_version(), "versions": versions()}
