"""The rules that a model edited elsewhere must keep before any number of it means anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM

from editgate.cache.digest import digest_tensors
from editgate.errors import BaselineModified, EditHadNoEffect, StateNotRestored
from editgate.inputs import model_loading
from editgate.inputs.files import model_files
from editgate.measure import weight_changes
from editgate.measure.external_checkpoint import ExternalCheckpoint, has_tokenizer
from editgate.measure.integrity import CHECKPOINT_RULES
from editors.core.weights import same_bits

PROBE = "The river runs to the sea: 12, 345 and Ünïcode.\n\nQ: What is it?\nA:"

# Of tokenizer.json; a vocabulary alone decides nothing: with fewer merges the same text becomes other tokens.
TOKENIZER_PARTS = ("normalizer", "pre_tokenizer", "model", "post_processor", "added_tokens")


def the_model_differs_from_its_base(run: ExternalCheckpoint) -> None:
    """At least one tensor is not the base's.

    Raises:
        EditHadNoEffect: all are the same, bit by bit.
    """
    if not weight_changes.changed_parameters(run.before, run.patched.model):
        raise EditHadNoEffect(
            f"{run.name}: every tensor in {run.spec.given} equals that of {run.base.source.name}. The change was not "
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
    """Every tensor of the files is in the loaded model with its value, and saving keeps it.

    Older libraries drop an edited head where the config ties it to the embedding. Values are compared by their bits:
    NaN differs from itself, and is another rule's.

    Raises:
        StateNotRestored: names the tensor.
    """
    loaded = dict(run.patched.model.named_parameters(remove_duplicate=False))
    for name, saved in _saved(run.spec.folder):
        if name in loaded and not same_bits(saved[: len(loaded[name])].to(loaded[name]), loaded[name]):
            raise StateNotRestored(
                f"{run.name}: {name} is one thing in the files and another in the loaded model: the config ties it to "
                "another tensor. Set tie_word_embeddings to false before saving."
            )
    with TemporaryDirectory() as folder:
        run.patched.model.save_pretrained(folder)
        again = AutoModelForCausalLM.from_pretrained(folder, dtype=run.patched.model.dtype, trust_remote_code=False)
    if digest_tensors(dict(again.named_parameters())) != run.patched.digest:
        raise StateNotRestored(f"{run.name}: saved and loaded again the model is another one.")


def the_tokenizer_is_the_bases(run: ExternalCheckpoint) -> None:
    """Every part that decides how a text becomes tokens is the same, where the changed model brings a tokenizer.

    Tokens that were added behind the base's are left out: the questions are put with the base's tokenizer.

    Raises:
        BaselineModified: one is not, so the two models would not be asked the same questions.
    """
    if not has_tokenizer(run.spec.folder):
        return
    own = model_loading.load_tokenizer("--edited", str(run.spec.folder))
    mine, bases = (json.loads(words.backend_tokenizer.to_str()) for words in (own, run.base.tokenizer))
    mine["added_tokens"] = _without_new(mine.get("added_tokens"), run.base.tokenizer.get_vocab())
    differing = [part for part in TOKENIZER_PARTS if mine.get(part) != bases.get(part)]
    if not differing and own(PROBE).input_ids != run.base.tokenizer(PROBE).input_ids:
        differing = ["special tokens"]
    if differing:
        raise BaselineModified(
            f"{run.name}: the tokenizer in {run.spec.given} is not that of {run.base.source.name} "
            f"({', '.join(differing)}); the two models cannot be asked the same questions."
        )


RULES: dict[str, Callable[[ExternalCheckpoint], None]] = {name: globals()[name] for name in CHECKPOINT_RULES}


def _without_new(added: list[dict[str, Any]] | None, vocabulary: Mapping[str, int]) -> list[dict[str, Any]] | None:
    """Added tokens but for those that are new and displace none of the base's."""
    taken = set(vocabulary.values())
    return added and [each for each in added if each["content"] in vocabulary or each["id"] in taken]


def _saved(folder: Path) -> Iterator[tuple[str, Tensor]]:
    files = model_files.weights_of(f"--edited {str(folder)!r}", folder)
    for file in (file for file in files if file.suffix == ".safetensors"):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - no mapping
                yield name, opened.get_tensor(name)
