"""Models by name: the miniature family that is shipped, any local directory, any model on the hub."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from editors import Edit
from tests.harness.errors import UsageProblem
from tests.harness.store import digest_tensors, digest_text
from tests.harness.tasks import HubDocuments, LocalDocuments, Source
from tests.miniature import corpus as miniature_corpus
from tests.miniature import edits as miniature_edits
from tests.miniature.recipes import WEIGHTS

MINIATURE = WEIGHTS.parent
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class ModelSource:
    """Where a model and what belongs to it come from.

    Attributes:
        name: how ids, thresholds and tables call it.
        location: a local directory or a hub id.
        documents: the benchmarks' documents.
        corpus: texts for covariances.
        training: edits for methods that train a network first; about nobody whom the gate's edits are about.
        hyperparameters: the key of the editors' defaults; empty: by the model's own name.
        miniature: whether the shipped edits are about people whom it knows.
    """

    name: str
    location: str
    documents: Source
    corpus: Callable[[], Sequence[str]]
    training: Callable[[], Sequence[Edit]]
    hyperparameters: str = ""
    miniature: bool = True


@dataclass(frozen=True)
class LoadedModel:
    """An unedited model in memory; nobody may edit `model` itself, only copies of it."""

    source: ModelSource
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    digest: str
    tokenizer_digest: str


@cache
def miniatures() -> tuple[str, ...]:
    """Return the names of the shipped models."""
    return tuple(sorted(path.parent.name for path in WEIGHTS.glob("*/config.json")))


def find(wanted: str) -> ModelSource:
    """Return the source that `--model` names, without loading anything.

    Raises:
        UsageProblem: the name is none of a shipped model, a model's directory or a hub id; or a hub model is not
            on this machine while the hub is switched off.
    """
    if wanted in miniatures():
        return _miniature(wanted, WEIGHTS / wanted, hyperparameters=wanted)
    if (Path(wanted) / "config.json").is_file():
        folder = Path(wanted).resolve()
        return _miniature(folder.name, folder, hyperparameters="")
    if HUB_ID.fullmatch(wanted) and not wanted.startswith((".", "/")):
        return _on_hub(wanted)
    raise UsageProblem(
        f"--model {wanted!r} is not known. Allowed: {', '.join(miniatures())}; a directory with a config.json; "
        "or a hub id such as meta-llama/Llama-2-7b-hf."
    )


def load(source: ModelSource, *, device: str, dtype: str) -> LoadedModel:
    """Load a model for reading; float32 unless asked otherwise, whatever type the file has.

    Raises:
        UsageProblem: the files are missing or cannot be read.
    """
    disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.location)
        model = AutoModelForCausalLM.from_pretrained(source.location, dtype=DTYPES[dtype])
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageProblem(f"--model {source.location!r} cannot be loaded: {reason}") from error
    torch.nn.Module.to(model, device)
    model.eval().requires_grad_(requires_grad=False)
    digest = digest_tensors(dict(model.named_parameters()))
    words = digest_text(tokenizer.backend_tokenizer.to_str())
    return LoadedModel(source, model, tokenizer, digest, words)


def _miniature(name: str, folder: Path, *, hyperparameters: str) -> ModelSource:
    documents = LocalDocuments(MINIATURE / "documents")
    return ModelSource(
        name, str(folder), documents, miniature_corpus.covariance_texts, miniature_edits.training, hyperparameters
    )


def _on_hub(wanted: str) -> ModelSource:
    here = isinstance(try_to_load_from_cache(wanted, "config.json"), str)
    if os.environ.get("HF_HUB_OFFLINE", "0") not in {"0", ""} and not here:
        raise UsageProblem(
            f"--model {wanted} is not on this machine and HF_HUB_OFFLINE is set. Fetch it once where there is a "
            f"network (hf download {wanted}), or give its directory: --model DIR."
        )
    return ModelSource(wanted.replace("/", "--"), wanted, HubDocuments(), _wikitext, tuple, miniature=False)


def _wikitext() -> Sequence[str]:
    import datasets  # noqa: PLC0415 - seconds to import, needed for hub models only

    rows = datasets.load_dataset("Salesforce/wikitext", "wikitext-2-raw-v1", split="train")
    return [row["text"] for row in rows if len(row["text"]) > 200]


def digest_of(source: ModelSource) -> str:
    """Return a short digest of the files that hold the weights, or `on the hub`, without loading them."""
    files = sorted(Path(source.location).glob("*.safetensors"))
    if not files:
        return "on the hub"
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return f"sha256 {digest.hexdigest()[:12]}"
