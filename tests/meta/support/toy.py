"""A toy for the tests of evaluation: documents in the original schemas, a tokenizer, random tiny models."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

WORDS = [
    "red",
    "blue",
    "green",
    "cat",
    "dog",
    "sun",
    "moon",
    "Paris",
    "Rome",
    "gold",
    "iron",
    "tea",
    "salt",
    "one",
    "two",
    "three",
    "north",
    "south",
]
LETTERS = "ABCDE"


def write_documents(folder: Path, size: int = 6, *, examples: bool = True) -> Path:
    """Writes `size` documents a benchmark, or a subtask where there are any, and worked examples if wanted."""
    rng = random.Random(0)
    splits = {"dev": 6, "test": size} if examples else {"test": size}
    for subject in ("anatomy", "toy_colors"):
        for split, count in splits.items():
            _write(folder / "mmlu" / subject / f"{split}.jsonl", (mmlu(rng) for _ in range(count)))
    for subtask in ("boolean_expressions", "object_counting"):
        _write(folder / "bbh" / subtask / "test.jsonl", (bbh(rng, subtask) for _ in range(size)))
    for task, build, evaluated in (
        ("gsm8k", gsm8k, "test"),
        ("commonsense_qa", commonsense_qa, "validation"),
        ("triviaqa", triviaqa, "validation"),
        ("truthfulqa_mc1", truthfulqa, "validation"),
        ("toxigen", toxigen, "test"),
    ):
        _write(folder / task / f"{evaluated}.jsonl", (build(rng) for _ in range(size)))
        if examples and task in {"gsm8k", "commonsense_qa"}:
            _write(folder / task / "train.jsonl", (build(rng) for _ in range(10)))
    (folder / "settings.toml").write_text(
        "[mmlu]\nnum_fewshot = 2\n[commonsenseqa]\nnum_fewshot = 2\n[gsm8k]\nnum_fewshot = 2\nmax_new_tokens = 12\n"
        "[bbh]\nmax_new_tokens = 12\n[triviaqa]\nmax_new_tokens = 8\n"
    )
    return folder


def mmlu(rng: random.Random) -> dict[str, Any]:
    """A document of cais/mmlu."""
    choices = rng.sample(WORDS, 4)
    return {"question": _phrase(rng), "subject": "toy", "choices": choices, "answer": rng.randrange(4)}


def bbh(rng: random.Random, subtask: str) -> dict[str, Any]:
    """A document of SaylorTwift/bbh."""
    target = rng.choice(["True", "False"]) if subtask == "boolean_expressions" else str(rng.randint(1, 9))
    return {"input": _phrase(rng), "target": target}


def gsm8k(rng: random.Random) -> dict[str, Any]:
    """A document of openai/gsm8k."""
    return {"question": _phrase(rng), "answer": f"{_phrase(rng)}\n#### {rng.randint(1, 20)}"}


def commonsense_qa(rng: random.Random) -> dict[str, Any]:
    """A document of tau/commonsense_qa."""
    choices = {"label": list(LETTERS), "text": rng.sample(WORDS, 5)}
    return {"question": _phrase(rng), "choices": choices, "answerKey": rng.choice(LETTERS)}


def triviaqa(rng: random.Random) -> dict[str, Any]:
    """A document of mandarjoshi/trivia_qa."""
    word = rng.choice(WORDS)
    return {"question": _phrase(rng), "answer": {"value": word, "aliases": [word, f"the {word}"]}}


def truthfulqa(rng: random.Random) -> dict[str, Any]:
    """A document of truthfulqa/truthful_qa as the data set has it: the truth first."""
    choices = [_phrase(rng) for _ in range(rng.randint(2, 5))]
    targets = {"choices": choices, "labels": [1] + [0] * (len(choices) - 1)}
    return {"question": _phrase(rng) + "?", "mc1_targets": targets, "mc2_targets": targets}


def toxigen(rng: random.Random) -> dict[str, Any]:
    """A document of skg/toxigen-data."""
    rating = rng.choice([1.5, 4.5])
    return {"text": _phrase(rng), "toxicity_ai": rating, "toxicity_human": rating}


@cache
def tokenizer(*, bos: bool) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer; with `bos` it begins each text with <s>, as Llama's does."""
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rng = random.Random(1)
    bare.train_from_iterator([_phrase(rng) + "\nQuestion: Answer: " for _ in range(200)], trainer)
    if bos:
        bare.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=bare, **special)


SHAPES: dict[str, dict[str, int]] = {
    "llama": {"num_key_value_heads": 2},
    "mistral": {"num_key_value_heads": 2},
    "gpt_neox": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024},
}
COMMON = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def model(family: str = "llama", *, tied: bool = False, seed: int = 0) -> PreTrainedModel:
    """A random model of two layers, with weights large enough that its preferences are clear."""
    torch.manual_seed(seed)
    shape = SHAPES[family] if family == "gpt2" else COMMON | SHAPES[family] | {"max_position_embeddings": 1024}
    config = AutoConfig.for_model(
        family,
        **shape,
        vocab_size=400,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        tie_word_embeddings=tied,
        initializer_range=0.3,
    )
    built: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    built.train(mode=False)
    return built


class Wrapper:
    """What a memory-based editor hands over: no module, only config, device, forward and generate."""

    def __init__(self, inner: PreTrainedModel) -> None:
        self.model = inner
        self.config = inner.config
        self.device = inner.device

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - handed through
        """The inner model's forward pass."""
        return self.model(*args, **kwargs)

    def generate(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - handed through
        """The inner model's generation."""
        generate: Any = self.model.generate
        return generate(*args, **kwargs)


def _phrase(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(2, 9)))


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
