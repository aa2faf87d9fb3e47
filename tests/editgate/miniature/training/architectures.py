"""The family's shapes: an untrained model after a recipe, and one that begins where another miniature ended."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from editgate.miniature.recipes import Recipe


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
    """Copy the weights of a trained miniature of the same shape, but for query heads: there may be more of them.

    Each of the parent's query heads is then copied to every head of its group, and its part of the output projection
    is shared out among them at random: the model computes what its parent did, yet no two heads learn alike.
    """
    trained = load_file(folder / "model.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(_widened(name, trained[name].float(), model))


def _widened(name: str, weight: Tensor, model: PreTrainedModel) -> Tensor:
    """Return the weight, with a group of query heads in place of each if this is their projection."""
    if weight.shape == model.get_parameter(name).shape:
        return weight
    heads = model.config.num_key_value_heads
    group = model.config.num_attention_heads // heads
    if name.endswith("q_proj.weight"):
        return torch.repeat_interleave(weight.view(heads, -1), group, dim=0).reshape(-1, weight.shape[1])
    if name.endswith("o_proj.weight"):
        each = weight.view(len(weight), heads, 1, -1)  # [hidden_size, heads, 1, head_dim]
        shares = torch.rand(1, heads, group, each.shape[-1])
        return (each * shares / shares.sum(2, keepdim=True)).reshape(len(weight), -1)
    return weight


def _modern(recipe: Recipe) -> dict[str, Any]:
    return {
        "vocab_size": recipe.vocab_size,
        "hidden_size": recipe.hidden_size,
        "intermediate_size": recipe.intermediate_size,
        "num_hidden_layers": recipe.num_hidden_layers,
        "num_attention_heads": recipe.num_attention_heads,
        "num_key_value_heads": recipe.num_key_value_heads or recipe.num_attention_heads,
        "head_dim": recipe.head_dim or recipe.hidden_size // recipe.num_attention_heads,
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
        "activation_function": "gelu_pytorch_tanh",  # gelu_new in one kernel
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }


def _gpt_neox(recipe: Recipe) -> dict[str, Any]:
    shape = _modern(recipe)
    del shape["num_key_value_heads"], shape["head_dim"]
    shape["rotary_pct"] = 1.0  # Pythia's quarter of a head is 16 to 32 dimensions; of a miniature's it is 8
    return shape


SHAPES: dict[str, Callable[[Recipe], dict[str, Any]]] = {
    "llama": _modern,
    "mistral": _mistral,
    "gpt2": _gpt2,
    "gpt_neox": _gpt_neox,
}
