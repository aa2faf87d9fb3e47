"""Writes a trained miniature as a Hugging Face directory with 16-bit weights and a manifest of where it came from."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from tests.miniature.recipes import Recipe
from tests.miniature.tokens import as_hugging_face

SOURCES = ("corpus.py", "documents.py", "names.py", "reasoning.py", "world.py", "tokens.py", "train.py")


def publish(name: str, recipe: Recipe, model: PreTrainedModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Save weights, tokenizer and manifest to `folder`; nothing is left half written for a reader to load."""
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.float16).save_pretrained(folder)
    as_hugging_face(tokenizer, recipe.max_length).save_pretrained(folder)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    manifest = {"name": name, "sha256": digest, "corpus_sha256": corpus_digest(), "recipe": asdict(recipe)}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def corpus_digest() -> str:
    """Return the digest of everything that decides the training documents: tables and the code that renders them."""
    here = Path(__file__).parent
    files = sorted((here / "data").glob("*.toml")) + [here / file for file in SOURCES]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
