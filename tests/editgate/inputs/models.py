"""Finds and loads models: the shipped miniature family, any local directory, any model on the hub."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from editgate import inert
from editgate.cache.digest import digest_tensors, digest_text
from editgate.compat.transformers import hide_progress_bars
from editgate.errors import ConfigError
from editgate.inputs import covariance_texts, hub_errors
from editgate.inputs.documents import DocumentSource, HubDocuments, LocalDocuments
from editgate.miniature.recipes import WEIGHTS
from editgate.miniature.world import corpus as miniature_corpus
from editgate.miniature.world import edits as miniature_edits
from editors import Edit
from editors.core.hyperparameters import known_anywhere

MINIATURE = WEIGHTS.parent
SHIPPED = LocalDocuments(MINIATURE / "documents")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
WITHOUT_OWNER = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2")  # hub ids from before there were owners
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
AUTO = "auto"  # the device that means: wherever accelerate finds room


@dataclass(frozen=True)
class ModelSource:
    """Where a model and what belongs to it come from.

    Attributes:
        name: used in ids, thresholds and tables.
        location: a local directory or a hub id.
        documents: the benchmarks' documents.
        corpus: texts for covariances.
        training: edits for methods that train a network first; their subjects are not those of the gate's edits.
        hyperparameters: the key of the editors' defaults; empty: by the model's own name.
        miniature: whether the shipped edits are about people that it knows.
    """

    name: str
    location: str
    documents: DocumentSource
    corpus: Callable[[], Sequence[str]]
    training: Callable[[], Sequence[Edit]]
    hyperparameters: str = ""
    miniature: bool = True

    @property
    def chat(self) -> bool:
        """Whether it is a chat model: its tokenizer has a chat template."""
        return hub_errors.has_chat_template(self.location)


@dataclass(frozen=True)
class LoadedModel:
    """An unedited model in memory; nobody may edit `model` itself, only copies of it."""

    source: ModelSource
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    digest: str
    tokenizer_digest: str


def name_of(hub_id: str) -> str:
    """Return what ids, files and tables call a model of the hub."""
    return hub_id.replace("/", "--")


@cache
def miniatures() -> tuple[str, ...]:
    """Return the names of the shipped models."""
    return tuple(sorted(path.parent.name for path in WEIGHTS.glob("*/config.json")))


def find(wanted: str, *, documents: Path | None = None, covariance_text: Path | None = None) -> ModelSource:
    """Return the source that `--model` names, without loading anything.

    Args:
        wanted: A shipped model's name, a directory, or a hub id.
        documents: A folder of benchmark documents to ask instead of the data sets on the hub.
        covariance_text: A text file to compute covariances from instead of wikitext.

    Raises:
        ConfigError: the name is none of a shipped model, a model's directory or a hub id; a hub model is not
            on this machine while the hub is switched off; or an option replaces what a shipped model has of its own.
    """
    folder = Path(wanted)
    if wanted in miniatures() or _is_miniature(folder):
        _reject_for_miniatures(wanted, {"--documents": documents, "--covariance-text": covariance_text})
        if wanted in miniatures():
            return _miniature(wanted, WEIGHTS / wanted, hyperparameters=wanted)
        return _miniature(inert.terminal(folder.resolve().name), folder.resolve(), hyperparameters="")
    source = LocalDocuments.standing_in(documents) if documents else HubDocuments()
    corpus = partial(covariance_texts.of_file, covariance_text) if covariance_text else covariance_texts.wikitext
    if covariance_text:
        covariance_texts.check(covariance_text)
    if (folder / "config.json").is_file():
        folder = folder.resolve()
        _reject_shipped_name(folder)
        keys = (folder.name, _first_name(folder))
        name = inert.terminal(folder.name)  # it is printed all over
        return ModelSource(name, str(folder), source, corpus, tuple, _defaults_key(*keys), miniature=False)
    if wanted in WITHOUT_OWNER or (HUB_ID.fullmatch(wanted) and not wanted.startswith((".", "/"))):
        _reject_offline(wanted)
        name = name_of(wanted)
        return ModelSource(name, wanted, source, corpus, tuple, _defaults_key(wanted), miniature=False)
    raise ConfigError(
        f"--model {wanted!r} is not known. Allowed: {', '.join(miniatures())}; a directory with a config.json; "
        "or a hub id such as meta-llama/Llama-2-7b-hf."
    )


def load(source: ModelSource, *, device: str, dtype: str) -> LoadedModel:
    """Load a model for reading; float32 unless asked otherwise, whatever type the file has.

    Raises:
        ConfigError: the files are missing or cannot be read, the model is gated, the tokenizer is a slow one, or
            `auto` would spread the model over several devices; with the command that helps.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.location)
    except (OSError, ValueError, ImportError) as error:
        raise _not_loaded("--model", source.location, error) from error
    model = load_weights("--model", source.location, device=device, dtype=dtype)
    digest = digest_tensors(dict(model.named_parameters()))
    return LoadedModel(source, model, tokenizer, digest, digest_text(_tokenizer_identity(source, tokenizer)))


def load_weights(option: str, location: str, *, device: str, dtype: str) -> PreTrainedModel:
    """Load a model without its tokenizer, for reading; `option` is what named it.

    Raises:
        ConfigError: as `load`.
    """
    hide_progress_bars()
    placed = {"device_map": AUTO} if device == AUTO else {}
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(location, dtype=DTYPES[dtype], **placed)
    except (OSError, ValueError, ImportError) as error:
        raise _not_loaded(option, location, error) from error
    if device == AUTO:
        _reject_several_devices(model)
    else:
        torch.nn.Module.to(model, device)
    model.eval().requires_grad_(requires_grad=False)
    return model


def _not_loaded(option: str, location: str, error: Exception) -> ConfigError:
    return ConfigError(f"{option} {location!r} cannot be loaded: {hub_errors.advice(error, location)}")


def _miniature(name: str, folder: Path, *, hyperparameters: str) -> ModelSource:
    return ModelSource(
        name, str(folder), SHIPPED, miniature_corpus.covariance_texts, miniature_edits.training, hyperparameters
    )


def _is_miniature(folder: Path) -> bool:
    """Return whether a directory's manifest says that its model was trained on the shipped world."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and {"corpus_sha256", "recipe"} <= set(manifest)


def _reject_for_miniatures(wanted: str, given: Mapping[str, Path | None]) -> None:
    for option, value in given.items():
        if value is not None:
            raise ConfigError(
                f"{option} {str(value)!r}: {wanted} was trained here and has its own. Allowed: with any other --model."
            )


def _reject_shipped_name(folder: Path) -> None:
    """Known failures and recorded baselines go by the model's name: another model must not have them."""
    if folder.name in miniatures():
        raise ConfigError(
            f"--model {str(folder)!r} has the name of a shipped model but not its manifest.json: it counts as another "
            "one. Rename the directory; or, if it is a changed copy, put that manifest.json into it."
        )


def _first_name(folder: Path) -> str:
    """Return the model's name where it was loaded from, by its config; empty if the config does not say."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"--model {str(folder)!r}: config.json is not JSON ({error}).") from None
    return str(config.get("_name_or_path", "")) if isinstance(config, dict) else ""


def _defaults_key(*names: str) -> str:
    """Return the first of a model's names that some editor ships hyperparameters for, by its last part, or nothing."""
    keys = [name.rstrip("/").rpartition("/")[2].lower() for name in names]
    return next(filter(known_anywhere, keys), "")


def _reject_offline(wanted: str) -> None:
    here = isinstance(try_to_load_from_cache(wanted, "config.json"), str)
    if os.environ.get("HF_HUB_OFFLINE", "0") not in {"0", ""} and not here:
        raise ConfigError(
            f"--model {wanted} is not on this machine and HF_HUB_OFFLINE is set. Fetch it once where there is a "
            f"network (hf download {wanted}), or give its directory: --model DIR."
        )


def _reject_several_devices(model: PreTrainedModel) -> None:
    """Editors put rows, states and statistics of one edit on one device; models on several devices were never tried."""
    devices = {str(parameter.device) for parameter in model.parameters()}
    if len(devices) > 1:
        raise ConfigError(
            f"--device auto spread the model over {', '.join(sorted(devices))}; editors need it on one. Free one that "
            "is large enough and name it (--device cuda:0), or take a smaller type (--dtype bfloat16)."
        )


def _tokenizer_identity(source: ModelSource, tokenizer: PreTrainedTokenizerBase) -> str:
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(f"--model {source.location!r}: no fast tokenizer (tokenizer.json), which editors need.")
    return f"{tokenizer.backend_tokenizer.to_str()}{tokenizer.special_tokens_map}"


def digest_of(source: ModelSource) -> str:
    """Return a short digest of the files that hold the weights, or where they are, without loading them."""
    files = sorted(Path(source.location).glob("*.safetensors"))
    if not files:
        return "no safetensors" if Path(source.location).is_dir() else "on the hub"
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return f"sha256 {digest.hexdigest()[:12]}"
