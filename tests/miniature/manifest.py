"""Writes a trained miniature as a Hugging Face directory with 16-bit weights and a manifest of where it came from."""

import hashlib
import itertools
import json
import random
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tokenizers import Tokenizer
from transformers import PreTrainedModel

from tests.miniature import corpus
from tests.miniature.recipes import Recipe
from tests.miniature.tokens import as_hugging_face


def publish(name: str, recipe: Recipe, model: PreTrainedModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Save weights, tokenizer and manifest to `folder`; nothing is left half written for a reader to load."""
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    as_hugging_face(tokenizer, recipe.max_length).save_pretrained(folder)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    manifest = {"name": name, "sha256": digest, "corpus_sha256": corpus_digest(), "recipe": asdict(recipe)}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def corpus_digest(sample: int = 500) -> str:
    """Return the digest of the first documents that each phase of the curriculum would show, learned parts marked."""
    digest = hashlib.sha256()
    for phase in corpus.CURRICULUM:
        texts = corpus.stream(random.Random(0), lambda text: len(text[0][0]), partial(float, phase.begins))
        for text in itertools.islice(texts, sample):
            digest.update(repr(text).encode())
    return digest.hexdigest()
