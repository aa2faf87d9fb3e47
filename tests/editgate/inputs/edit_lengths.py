"""Edits whose prompts, with their answers, are longer than the model's context: told before the run, by record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from editgate.inputs import model_loading, models
from editgate.inputs.files import model_files, user_files
from editgate.inputs.models import ModelSource
from editors import Edit

LIMITS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len")
SHORT = 512  # bytes: no GGUF file has a context of fewer tokens, so it need not be unpacked to judge such texts
SPECIAL = 8  # tokens that a tokenizer may add by itself, generously


def too_long(edits: Mapping[str, Edit], source: ModelSource) -> dict[str, str]:
    """Return why an edit does not fit, by record; empty where the model's config.json is not here or names no limit.

    A token stands for at least one byte of text: the tokenizer is loaded only where a text has as many bytes.

    Raises:
        ConfigError: the tokenizer is needed and cannot be loaded.
    """
    if source.file is not None and all(
        len(text.encode()) <= SHORT for edit in edits.values() for _, text in _texts(edit)
    ):
        return {}
    models.unpack(source)  # what fits must not depend on whether an earlier run did it
    limit = _limit(source)
    suspects = {
        place: [(what, text) for what, text in _texts(edit) if len(text.encode()) + SPECIAL > limit]
        for place, edit in edits.items()
    }
    if not limit or not any(suspects.values()):
        return {}
    tokenizer = model_loading.load_tokenizer("--model", source.location)
    found: dict[str, str] = {}
    for place, texts in suspects.items():
        for what, text in texts:
            tokens = len(tokenizer(text, verbose=False).input_ids)
            if tokens > limit and place not in found:
                found[place] = f"{what} is {tokens} tokens, and the context of {source.name} holds {limit}"
    return found


def _texts(edit: Edit) -> Iterator[tuple[str, str]]:
    """Everything that the model will be given, with the answer behind it, and what it is called."""
    yield "the prompt with its target", f"{edit.text} {edit.target_new}"
    yield from (("a rephrase with the target", f"{text} {edit.target_new}") for text in edit.rephrases)
    yield from (("a neighbor with its answer", f"{prompt} {answer}") for prompt, answer in edit.neighbors)


def _limit(source: ModelSource) -> int:
    """Return how many tokens a model takes at once; 0 if it is not known here."""
    folder = Path(source.location)
    if not user_files.is_file(folder / "config.json"):
        return 0
    config: dict[str, Any] = model_files.read_config("--model", folder)
    inner = config.get("text_config")
    found = [part[name] for part in (inner, config) if isinstance(part, dict) for name in LIMITS if name in part]
    return next((value for value in found if isinstance(value, int) and value > 0), 0)
