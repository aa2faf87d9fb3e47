"""The rules that a model edited elsewhere must keep before any number of it means anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from editgate.cache.digest import digest_tensors
from editgate.errors import BaselineModified, EditHadNoEffect, StateNotRestored
from editgate.measure import weight_changes
from editgate.measure.external_checkpoint import ExternalCheckpoint
from editgate.measure.integrity import CHECKPOINT_RULES

PROBE = "The river runs to the sea: 12, 345 and Ünïcode.\n\nQ: What is it?\nA:"


def the_model_differs_from_its_base(run: ExternalCheckpoint) -> None:
    """At least one tensor is not the base's.

    Raises:
        EditHadNoEffect: all are the same, bit by bit.
    """
    if not weight_changes.changed_parameters(run.before, run.patched.model):
        raise EditHadNoEffect(
            f"{run.name}: every tensor in {run.spec.folder} equals that of {run.base.source.name}. The change was not "
            "saved, or both options name the same model."
        )


def the_model_is_finite(run: ExternalCheckpoint) -> None:
    """Weights and logits are finite.

    Raises:
        NonFiniteModel: names the tensors.
    """
    weight_changes.assert_finite(run.patched.model)
    ids = run.base.tokenizer(PROBE, return_tensors="pt").input_ids.to(run.patched.model.device)
    weight_changes.assert_finite_logits(run.patched.model, ids, f"{run.name}: logits on {PROBE!r} are NaN or infinite")


def what_is_saved_is_what_is_loaded(run: ExternalCheckpoint) -> None:
    """Every tensor of the files is in the loaded model with its value, nothing was missing, and saving keeps it.

    A tensor that is missing is drawn at random with no more than a warning; older libraries drop an edited head where
    the config ties it to the embedding.

    Raises:
        StateNotRestored: names the tensor.
    """
    loading: Any = AutoModelForCausalLM.from_pretrained(run.spec.folder, output_loading_info=True)
    if missing := sorted(loading[1]["missing_keys"]):
        raise StateNotRestored(
            f"{run.name}: {missing[0]} (and {len(missing) - 1} more) is not in the files of the model."
        )
    loaded = dict(run.patched.model.named_parameters(remove_duplicate=False))
    for name, saved in _saved(run.spec.folder):
        if name in loaded and not torch.equal(saved.to(loaded[name]), loaded[name]):
            raise StateNotRestored(
                f"{run.name}: {name} is one thing in the files and another in the loaded model: the config ties it to "
                "another tensor. Set tie_word_embeddings to false before saving."
            )
    with TemporaryDirectory() as folder:
        run.patched.model.save_pretrained(folder)
        again = AutoModelForCausalLM.from_pretrained(folder, dtype=run.patched.model.dtype)
    if digest_tensors(dict(again.named_parameters())) != run.patched.digest:
        raise StateNotRestored(f"{run.name}: saved and loaded again the model is another one.")


def the_tokenizer_is_the_bases(run: ExternalCheckpoint) -> None:
    """The same text gives the same tokens, where the changed model brings a tokenizer.

    Raises:
        BaselineModified: it does not, so the two models would not be asked the same questions.
    """
    if not any((run.spec.folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        return
    own = AutoTokenizer.from_pretrained(run.spec.folder)
    before, now = run.base.tokenizer(PROBE).input_ids, own(PROBE).input_ids
    if before != now or own.get_vocab() != run.base.tokenizer.get_vocab():
        raise BaselineModified(
            f"{run.name}: the tokenizer in {run.spec.folder} is not that of {run.base.source.name}; the two models "
            "cannot be asked the same questions."
        )


RULES: dict[str, Callable[[ExternalCheckpoint], None]] = {name: globals()[name] for name in CHECKPOINT_RULES}


def _saved(folder: Path) -> Iterator[tuple[str, Tensor]]:
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - no mapping
                yield name, opened.get_tensor(name)
