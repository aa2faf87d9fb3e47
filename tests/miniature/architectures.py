"""The family's shapes: an untrained model after a recipe, and one that begins where another miniature ended."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tests.miniature.recipes import Recipe


def build_model(recipe: Recipe, tokenizer: Tokenizer) -> PreTrainedModel:
    """Return the untrained model, initialised from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    shape = SHAPES[recipe.architecture](recipe)
    special = {"bos_token_id": "<s>", "eos_token_id": "</s>", "pad_token_id": "<pad>"}
    tokens = {name: tokenizer.token_to_id(token) for name, token in special.items()}
    config = AutoConfig.for_model(recipe.architecture, **shape, **tokens, tie_word_embeddings=True)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model


def begin_from(model: PreTrainedModel, folder: Path) -> None:
    """Copy the weights of a trained miniature of the same shape."""
    trained = load_file(folder / "model.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(trained[name].float())


def _modern(recipe: Recipe) -> dict[str, Any]:
    return {
        "vocab_size": recipe.vocab_size,
        "hidden_size": recipe.hidden_size,
        "intermediate_size": recipe.intermediate_size,
        "num_hidden_layers": recipe.num_hidden_layers,
        "num_attention_heads": recipe.num_attention_heads,
        "num_key_value_heads": recipe.num_key_value_heads or recipe.num_attention_heads,
        "max_position_embeddings": recipe.max_length,
    }


def _mistral(recipe: Recipe) -> dict[str, Any]:
    return {**_modern(recipe), "sliding_window": None}


def _gpt2(recipe: Recipe) -> dict[str, Any]:
    return {
        "vocab_size": recipe.vocab_size,
        "n_embd": recipe.hidden_size,
        "n_inner": recipe.intermediate_size,
        "n_layer": recipe.num_hidden_layers,
        "n_head": recipe.num_attention_heads,
        "n_positions": recipe.max_length,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }


def _gpt_neox(recipe: Recipe) -> dict[str, Any]:
    shape = _modern(recipe)
    del shape["num_key_value_heads"]
    return shape


SHAPES: dict[str, Callable[[Recipe], dict[str, Any]]] = {
    "llama": _modern,
    "mistral": _mistral,
    "gpt2": _gpt2,
    "gpt_neox": _gpt_neox,
}
