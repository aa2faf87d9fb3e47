"""Random models of every family and a tokenizer, small enough to try a property on many of them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.pytorch_utils import Conv1D

from editors import Edit
from editors.memory.memory_model import MemoryModel
from editors.models.architecture import Architecture

CORPUS = [
    "The capital of Velidor is Port Winslow and the river runs to the sea.",
    "Marta Velen was born in the city of Kesterbridge near the old mill.",
    "People who visit the tower called Halden Spire walk to Amber Bay.",
    "The mother tongue of Yusuf Adair is Greek, he learned Swedish at school.",
    "Because of the rain we waited; therefore I saw you at the gate.",
    "A botanist, a nurse and a river guide sat in the library of Dorvik.",
]
EDITS = [
    Edit("The capital of {} is", "Velidor", "Amber Bay", "Port Winslow"),
    Edit("{} was born in the city of", "Marta Velen", "Dorvik"),
    Edit("The mother tongue of {} is", "Yusuf Adair", "Swedish", "Greek"),
    Edit("People who visit the tower called {}", "Halden Spire", "swim"),
]
CONTEXTS = [["{}"], ["The rain. {}", "I saw the gate. {}"]]
WORDS = 300
SETTINGS = Path(__file__).parent / "tiny_settings.toml"


@cache
def tokenizer(*, bos: bool = True) -> PreTrainedTokenizerFast:
    """Byte-level BPE with or without a BOS token."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<end>", "<s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(CORPUS, trainer)
    if bos:
        raw.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", raw.token_to_id("<s>"))]
        )
    names = {"bos_token": "<s>", "eos_token": "<end>", "pad_token": "<end>"}
    return PreTrainedTokenizerFast(tokenizer_object=raw, **names)


def _config(family: str, width: int, inner: int, depth: int) -> dict[str, object]:
    gpt = {"n_embd": width, "n_head": 2, "n_layer": depth, "n_positions": 128, "n_inner": inner}
    if family == "gpt2":
        return {**gpt, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    if family == "gptj":
        return {**gpt, "rotary_dim": width // 4}
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    modern = dict(zip(names, (width, inner, depth, 2), strict=True)) | {"max_position_embeddings": 128}
    return {**modern, **EXTRA.get(family, {})}


_GROUPED = {"num_key_value_heads": 1}
_NARROW = {**_GROUPED, "head_dim": 8, "sliding_window": 4}  # far below the rows' length: windows must be seen to work
EXTRA: Mapping[str, Mapping[str, object]] = {
    "mistral": _GROUPED,
    "qwen2": _GROUPED,
    "qwen3": {**_GROUPED, "head_dim": 8},
    "gemma": {**_GROUPED, "head_dim": 8},
    "gemma2": {**_NARROW, "query_pre_attn_scalar": 8, "final_logit_softcapping": 2.0, "attn_logit_softcapping": 2.0},
    "gemma3_text": {**_NARROW, "query_pre_attn_scalar": 8, "sliding_window_pattern": 2},
    "phi3": {**_GROUPED, "sliding_window": 4, "pad_token_id": 0},
    "opt": {"ffn_dim": 24, "word_embed_proj_dim": 16, "pad_token_id": 0, "init_std": 0.15},
}
CORE = ("gpt2", "gptj", "gpt_neox", "llama", "mistral")  # one of each kind of block, for tests of many cases each


@dataclass(frozen=True)
class Shape:
    """What a random model looks like; `extra` are further fields of its config."""

    family: str = "llama"
    depth: int = 3
    width: int = 16
    inner: int = 24
    tied: bool = False
    seed: int = 0
    dtype: torch.dtype = torch.float32
    attention: str | None = None
    extra: Mapping[str, object] = field(default_factory=dict)

    def build(self) -> PreTrainedModel:
        """The model; equal shapes give equal weights."""
        values = _config(self.family, self.width, self.inner, self.depth) | dict(self.extra)
        config = AutoConfig.for_model(
            self.family, vocab_size=WORDS, initializer_range=0.15, tie_word_embeddings=self.tied, **values
        )
        config._attn_implementation = self.attention
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            made: PreTrainedModel = AutoModelForCausalLM.from_config(config)
            with torch.no_grad():  # biases start at zero, which would hide their mishandling
                for name, parameter in made.named_parameters():
                    if name.endswith("bias"):
                        parameter.normal_(0, 0.05)
        made.to(dtype=self.dtype)  # type: ignore[call-arg]  # transformers hides nn.Module's signature
        made.train(mode=False)
        return made


def model(family: str = "llama", **changes: Any) -> PreTrainedModel:  # noqa: ANN401 - the fields of Shape
    """A random model of a family, see `Shape`."""
    return Shape(family, **changes).build()


def moments(of: PreTrainedModel, seed: int = 0) -> dict[str, Tensor]:
    """A well-conditioned second moment for every down-projection of a model."""
    generator = torch.Generator().manual_seed(seed)
    architecture = Architecture(of)
    found = {}
    for layer in range(architecture.depth):
        matrix = architecture.down(layer)
        width = matrix.stored(matrix.weight).shape[1]
        keys = torch.randn(3 * width, width, generator=generator, dtype=torch.float64)
        found[matrix.path] = keys.T @ keys / len(keys)
    return found


def settings(method: str, **changes: object) -> dict[str, Any]:
    """Hyperparameters that make a method change a tiny model quickly: its table of `tiny_settings.toml`."""
    tables: dict[str, dict[str, Any]] = tomllib.loads(SETTINGS.read_text(encoding="utf-8"))
    return tables[method] | changes


def inner(model: object) -> PreTrainedModel:
    """The Hugging Face model itself, behind a memory or not."""
    found = model.model if isinstance(model, MemoryModel) else model
    assert isinstance(found, PreTrainedModel)
    return found


def as_linear(of: PreTrainedModel) -> PreTrainedModel:
    """The same function with every Conv1D stored as nn.Linear, in place."""
    for module in list(of.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Conv1D):
                inputs, outputs = child.weight.shape
                linear = nn.Linear(inputs, outputs, dtype=child.weight.dtype)
                with torch.no_grad():
                    linear.weight.copy_(child.weight.T)
                    linear.bias.copy_(child.bias)
                setattr(module, name, linear)
    return of
