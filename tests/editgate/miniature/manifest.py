"""Writes a trained miniature as a Hugging Face directory with 16-bit weights and a manifest of where it came from."""

import hashlib
import itertools
import json
import random
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from editgate.compat.transformers import hide_progress_bars
from editgate.geometry.spectrum import Spectrum
from editgate.inputs.benchmarks import ALL, benchmarks_for
from editgate.inputs.documents import LocalDocuments
from editgate.measure.evaluate import evaluate
from editgate.measure.prepare import prepare
from editgate.miniature.recipes import Recipe
from editgate.miniature.training.tokens import as_hugging_face
from editgate.miniature.world import corpus
from editgate.miniature.world.chat import mix_of
from editors.models.architecture import Architecture
from editors.models.covariance import compute_covariances

DOCUMENTS = Path(__file__).parent / "documents"


def publish(name: str, recipe: Recipe, model: PreTrainedModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Save weights, tokenizer and manifest to `folder`; nothing is left half written for a reader to load."""
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    as_hugging_face(tokenizer, recipe).save_pretrained(folder)
    write(name, recipe, folder)


def write(name: str, recipe: Recipe, folder: Path) -> None:
    """Write the manifest of the model that lies in `folder`: digests, recipe, and what it scores as it lies there."""
    manifest = {
        "name": name,
        "sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "corpus_sha256": corpus_digest(mix_of(recipe)),
        "recipe": asdict(recipe),
        "scores": scores(folder),
        "spectra": [asdict(spectrum) for spectrum in spectra(folder)],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def scores(folder: Path) -> dict[str, float]:
    """Return the model's score on each benchmark, through lm-eval, from its files, in float32."""
    model, tokenizer = _read(folder)
    source = LocalDocuments(DOCUMENTS)
    asked = [(name, ALL[name]) for name in benchmarks_for(chat=bool(tokenizer.chat_template))]
    return {name: round(evaluate(prepare(row, source, tokenizer), model).score, 6) for name, row in asked}


def spectra(folder: Path) -> list[Spectrum]:
    """Return how the inputs of each block's down-projection fill their space, over the texts that methods are given."""
    model, tokenizer = _read(folder)
    architecture = Architecture(model)
    matrices = [architecture.down(layer) for layer in range(model.config.num_hidden_layers)]
    moments = compute_covariances(architecture, tokenizer, corpus.covariance_texts(), matrices)
    return [Spectrum.of(matrix.path, moments[matrix.path]) for matrix in matrices]


def _read(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    hide_progress_bars()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    return model, AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def corpus_digest(mix: corpus.Mix, sample: int = 500) -> str:
    """Return the digest of the first documents that each phase of the curriculum would show, learned parts marked."""
    digest = hashlib.sha256()
    for phase in mix.curriculum:
        texts = corpus.stream(random.Random(0), lambda text: len(text[0][0]), partial(float, phase.begins), mix)
        for text in itertools.islice(texts, sample):
            digest.update(repr(text).encode())
    return digest.hexdigest()
