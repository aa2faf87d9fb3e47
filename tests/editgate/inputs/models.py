"""Finds and loads models: the shipped miniature family, any local directory, any model on the hub."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from editgate import importing, inert
from editgate.cache.digest import digest_files, digest_tensors, digest_text
from editgate.errors import ConfigError
from editgate.inputs import covariance_texts, freed_memory, hub_errors, model_loading
from editgate.inputs.benchmarks import ALL, BENCHMARKS, Benchmark
from editgate.inputs.documents import DocumentSource, HubDocuments, LocalDocuments
from editgate.inputs.files import model_files, user_files
from editgate.inputs.harness.index import digest_of_registered
from editgate.inputs.other_forms import gguf
from editgate.inputs.unedited_model import LoadedModel
from editgate.miniature.recipes import WEIGHTS
from editors import Edit
from editors.core import placement
from editors.core.hyperparameters import known_anywhere
from editors.core.typing import PreTrainedTokenizerBase

MINIATURE = WEIGHTS.parent
STORE = Path(".editgate")  # where the store lies, unless the caller knows better
SHIPPED = LocalDocuments(MINIATURE / "documents")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
WITHOUT_OWNER = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2")  # hub ids from before there were owners


@dataclass(frozen=True)
class MadeTexts:
    """A corpus that is known by what it is made of: code, or a file.

    Attributes:
        make: returns the texts.
        made_from: returns what they depend on, in digests, besides versions of libraries.
    """

    make: Callable[[], Sequence[str]]
    made_from: Callable[[], str]

    def __call__(self) -> Sequence[str]:
        """Return the texts."""
        return self.make()


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
        file: the GGUF file that `location` is made of; it is there once `unpack` was called.
        keys: the names that its hyperparameters may go by, in lower case, the best first.
        given_documents: what `--documents` names.
    """

    name: str
    location: str
    documents: DocumentSource
    corpus: Callable[[], Sequence[str]]
    training: Callable[[], Sequence[Edit]]
    hyperparameters: str = ""
    miniature: bool = True
    file: Path | None = None
    keys: tuple[str, ...] = ()
    given_documents: LocalDocuments | None = None

    def documents_of(self, benchmark: Benchmark) -> DocumentSource:
        """Return where the documents of one benchmark are: what is not in the table is asked from the hub, or locally.

        Requests to chat models are this suite's own, unless the model's documents hold others.
        """
        if benchmark.added:
            given = self.given_documents
            return given if given is not None and given.holds(benchmark) else HubDocuments()
        return self.documents if self.documents.holds(benchmark) or not benchmark.chat else SHIPPED

    @property
    def chat(self) -> bool:
        """Whether it is a chat model: its tokenizer has a chat template."""
        return hub_errors.has_chat_template(self.location)


Sources = Mapping[str, ModelSource]  # by name


def name_of(hub_id: str) -> str:
    """Return what ids, files and tables call a model of the hub."""
    return hub_id.replace("/", "--")


@cache
def miniatures() -> tuple[str, ...]:
    """Return the names of the shipped models."""
    return tuple(sorted(path.parent.name for path in WEIGHTS.glob("*/config.json")))


def find(
    wanted: str,
    *,
    documents: Path | None = None,
    covariance_text: Path | None = None,
    store: Path = STORE,
    benchmarks: Mapping[str, Benchmark] = ALL,
) -> ModelSource:
    """Return the source that `--model` names, without loading anything.

    Args:
        wanted: A shipped model's name, a directory, a GGUF file, or a hub id.
        documents: A folder of benchmark documents to ask instead of the data sets on the hub.
        covariance_text: A text file to compute covariances from instead of wikitext.
        store: Where a GGUF file's model will be unpacked.
        benchmarks: Those that may be asked. A shipped model has documents of its own for those of the table alone.

    Raises:
        ConfigError: the name is none of a shipped model, a model's directory or a hub id; a directory has no readable
            config.json; a hub model is not on this machine while the hub is switched off; or an option replaces what a
            shipped model has of its own.
    """
    if wanted in miniatures() or _is_miniature(Path(wanted)):
        useless = None if any(row.leaves for row in benchmarks.values()) else documents
        _reject_for_miniatures(wanted, {"--documents": useless, "--covariance-text": covariance_text})
    given = LocalDocuments.standing_in(documents, benchmarks) if documents else None
    return replace(_find(wanted, given or HubDocuments(), covariance_text, store), given_documents=given)


def _find(wanted: str, source: DocumentSource, covariance_text: Path | None, store: Path) -> ModelSource:
    folder = Path(wanted)
    if wanted in miniatures() or _is_miniature(folder):
        if wanted in miniatures():
            return _miniature(wanted, WEIGHTS / wanted, hyperparameters=wanted)
        return _miniature(inert.terminal(folder.resolve().name), folder.resolve(), hyperparameters="")
    corpus: Callable[[], Sequence[str]] = covariance_texts.wikitext
    if covariance_text:
        covariance_texts.check(covariance_text)
        corpus = MadeTexts(partial(covariance_texts.of_file, covariance_text), partial(digest_files, covariance_text))
    if gguf.is_gguf(folder):
        file = folder.resolve()
        _reject_shipped_name(file.with_suffix(""))
        place = gguf.folder_of("--model", file, store.resolve())
        keys = _keys(gguf.base_name(file), file.stem)
        name = inert.terminal(file.stem)
        return ModelSource(name, str(place), source, corpus, tuple, _known(keys), miniature=False, file=file, keys=keys)
    if wanted and (user_files.is_dir(folder) or user_files.is_file(folder)):
        folder = folder.resolve()
        _reject_shipped_name(folder)
        keys = _keys(folder.name, _first_name(folder))
        name = inert.terminal(folder.name)  # it is printed all over
        return ModelSource(name, str(folder), source, corpus, tuple, _known(keys), miniature=False, keys=keys)
    if _is_hub_id(wanted):
        _reject_offline(wanted)
        name = name_of(wanted)
        keys = _keys(wanted)
        return ModelSource(name, wanted, source, corpus, tuple, _known(keys), miniature=False, keys=keys)
    raise ConfigError(
        f"--model {wanted!r} is not known. Allowed: {', '.join(miniatures())}; a directory with a config.json; "
        "a GGUF file; or a hub id such as meta-llama/Llama-2-7b-hf."
    )


def unpack(source: ModelSource) -> None:
    """Make the directory of a model that is a GGUF file, unless it is there.

    Raises:
        ConfigError: the file cannot be read.
    """
    if source.file is not None:
        gguf.convert("--model", source.file, Path(source.location))


def notes(source: ModelSource) -> list[str]:
    """Return what a person should know of where the weights come from, a line each."""
    if source.file is not None:
        return [f"model: {source.file.name}, dequantized to float32 in {source.location}"]
    folder = Path(source.location)
    loaded, others = model_files.left_over(folder) if user_files.is_dir(folder) else ("", [])
    return [f"model: {loaded} is loaded; not read: {', '.join(others)}"] if others else []


def check(source: ModelSource) -> None:
    """Refuse a directory that does not hold a whole model, and documents that are none; weights are not read.

    Raises:
        ConfigError: says which file is missing, broken, or disagrees with the others; of documents also the line and
            the field.
    """
    if source.given_documents is not None:
        source.given_documents.check()
    unpack(source)
    folder = Path(source.location)
    if user_files.is_dir(folder) and folder.parent != WEIGHTS:  # those are checked by the suite's own tests
        model_loading.check("--model", folder, tokenizer=True)


def load(
    source: ModelSource, *, device: str, dtype: str, max_memory: Mapping[int | str, int] | None = None
) -> LoadedModel:
    """Load a model for reading; float32 unless asked otherwise, whatever type the file has.

    Raises:
        ConfigError: the files are missing, cannot be read or are not the whole model, the model is gated or needs code
            of its own, the tokenizer is a slow one, or `auto` finds no room for the embedding; with the command that
            helps.
    """
    tokenizer, tokenizer_digest = load_tokenizer(source)
    model = model_loading.load_weights("--model", source.location, device=device, dtype=dtype, max_memory=max_memory)
    weights = placement.values(model)
    if sum(tensor.nbytes for tensor in weights.values()) >= freed_memory.LARGE:
        freed_memory.give_back_at_once()
    return LoadedModel(source, model, tokenizer, digest_tensors(weights), tokenizer_digest)


def load_tokenizer(source: ModelSource) -> tuple[PreTrainedTokenizerBase, str]:
    """Load a model's tokenizer alone, with its digest.

    Raises:
        ConfigError: the files are missing or cannot be read, or the tokenizer is a slow one.
    """
    unpack(source)
    tokenizer = model_loading.load_tokenizer("--model", source.location)
    return tokenizer, digest_text(f"{tokenizer.backend_tokenizer.to_str()}{tokenizer.special_tokens_map}")


def folder_of(source: ModelSource) -> Path | None:
    """Return the directory that a model is loaded from; None if there is none, or the hub may have a newer version."""
    folder = Path(source.location)
    if folder.is_dir():
        return folder
    return _in_cache(source.location) if _offline() and _is_hub_id(source.location) else None


def _in_cache(hub_id: str) -> Path | None:
    """The directory of a hub model on this machine, if it is there."""
    config = try_to_load_from_cache(hub_id, "config.json")
    return Path(config).parent if isinstance(config, str) else None


def _miniature(name: str, folder: Path, *, hyperparameters: str) -> ModelSource:
    texts = MadeTexts(_miniature_texts, _miniature_texts_made_from)
    return ModelSource(name, str(folder), SHIPPED, texts, _miniature_training, hyperparameters, keys=_keys(name))


@cache
def _miniature_texts() -> Sequence[str]:
    importing.what_measures()
    from editgate.miniature.world import corpus  # noqa: PLC0415 - it renders lm-eval's templates

    return corpus.covariance_texts()


def _miniature_texts_made_from() -> str:
    """The code and the facts of the world, and the prompts that its texts are put into."""
    prompts = {row.folder: digest_of_registered(row.folder) for row in BENCHMARKS.values()}
    return f"{digest_files(MINIATURE / 'world')} {prompts}"


def _miniature_training() -> Sequence[Edit]:
    from editgate.miniature.world import edits  # noqa: PLC0415 - only who edits asks

    return edits.training()


def _is_miniature(folder: Path) -> bool:
    """Return whether a directory's manifest says that its model was trained on the shipped world."""
    try:
        return {"corpus_sha256", "recipe"} <= set(user_files.read_object(folder / "manifest.json"))
    except ConfigError:
        return False


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
    return str(model_files.read_config("--model", folder).get("_name_or_path", ""))


def _keys(*names: str) -> tuple[str, ...]:
    """Return the last parts of a model's names, in lower case."""
    return tuple(dict.fromkeys(key for name in names if (key := name.rstrip("/").rpartition("/")[2].lower())))


def _known(keys: Sequence[str]) -> str:
    """Return the first of a model's names that some editor ships hyperparameters for, or nothing."""
    return next(filter(known_anywhere, keys), "")


def _is_hub_id(wanted: str) -> bool:
    if wanted in WITHOUT_OWNER:
        return True
    if not HUB_ID.fullmatch(wanted) or wanted.startswith((".", "/")):
        return False
    try:
        try_to_load_from_cache(wanted, "config.json")
    except HFValidationError:  # longer than the hub allows, or ends in a dash
        return False
    return True


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "0") not in {"0", ""}


def _reject_offline(wanted: str) -> None:
    if _offline() and _in_cache(wanted) is None:
        raise ConfigError(
            f"--model {wanted} is not on this machine and HF_HUB_OFFLINE is set. Fetch it once where there is a "
            f"network (hf download {wanted}), or give its directory: --model DIR."
        )


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
