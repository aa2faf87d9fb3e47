"""Everything in `editors/` that depends on transformers' version, or on parts of it that are not public.

- A model's cache argument. `past_key_values` became `cache` in 5.24; the old name warns, and goes with 5.40. After
  another renaming add the name to `MODEL_CACHE_ARGUMENTS`.
- A block's cache argument. `past_key_value`, `past_key_values` or `layer_past`, by family; `cache` in most since 5.24.
  After another renaming add the name to `BLOCK_CACHE_ARGUMENTS`; until then `CachedWindow` runs whole passes instead.
- The cache in a model's output: `past_key_values`, since 5.24 `cache`; read by `returned_cache`.
- `DynamicCache` and `DynamicLayer` with `keys` and `values` (`cache_utils`, since 5.0). Where a layer is of another
  class, `keys_and_values` returns None, and callers run whole passes or say that the model is not supported.
- `config._attn_implementation` (since 4.36, without a public getter). Without it a model counts as one of unknown
  attention: whole passes instead of cached ones.
- `ACT2FN`, activation functions by the name that a config has (`activations`, since 2.0, undocumented), and the fields
  that hold this name. After a renaming add the field to `ACTIVATION_FIELDS`; until then WISE refuses the model.
- `Conv1D`, GPT-2's linear layer with a transposed weight (`pytorch_utils`). Imported here only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.pytorch_utils import Conv1D

__all__ = [
    "ANY_MASK_ATTENTION",
    "BLOCK_CACHE_ARGUMENTS",
    "Conv1D",
    "DynamicCache",
    "activation_function",
    "attention_implementation",
    "cache_argument",
    "forward_with_cache",
    "keys_and_values",
    "returned_cache",
    "takes_any_mask",
]

MODEL_CACHE_ARGUMENTS = ("cache", "past_key_values")  # newest first
BLOCK_CACHE_ARGUMENTS = ("cache", "past_key_values", "past_key_value", "layer_past")
ANY_MASK_ATTENTION = ("eager", "sdpa")  # attention implementations that take an additive mask of any pattern
ACTIVATION_FIELDS = ("hidden_activation", "hidden_act", "activation_function", "activation")


def activation_function(config: object) -> Callable[[Tensor], Tensor] | None:
    """Return the activation of a model's MLPs, from its text config; None if it does not say."""
    names = (getattr(config, field, None) for field in ACTIVATION_FIELDS)
    name = next((name for name in names if isinstance(name, str)), None)
    if name not in ACT2FN:
        return None
    found: Callable[[Tensor], Tensor] = ACT2FN[name]
    return found


def cache_argument(forward: Callable[..., object]) -> str:
    """Return the name under which a model's `forward` takes its cache: "cache" or "past_key_values".

    Decorated forwards are seen through (`inspect.signature` follows `__wrapped__`), so that a model from before
    transformers 5.24 that is kept as remote code gets the old name. A forward that names neither (`**kwargs` only)
    passes its arguments on to one of the installed transformers: it gets that release's name.
    """
    parameters = inspect.signature(forward).parameters
    installed = {field.name for field in fields(BaseModelOutputWithPast)}
    for names in (parameters, installed):
        for name in MODEL_CACHE_ARGUMENTS:
            if name in names:
                return name
    raise RuntimeError(
        f"transformers calls a model's cache neither of {', '.join(MODEL_CACHE_ARGUMENTS)}; "
        "add its name to MODEL_CACHE_ARGUMENTS in editors/models/compat.py"
    )


def returned_cache(output: Any) -> Cache | None:  # noqa: ANN401 - outputs have no common type across releases
    """Return the cache in a model's output, under the name that this release gives it; None if it has none."""
    found: Iterator[Cache | None] = (getattr(output, name, None) for name in MODEL_CACHE_ARGUMENTS)
    return next((cache for cache in found if cache is not None), None)  # an empty one is false


def forward_with_cache(model: nn.Module, ids: Tensor, cache: Cache | None, **arguments: object) -> Any:  # noqa: ANN401
    """Run a model on token ids [B, T] after what `cache` holds, and return its output with the cache in it."""
    return model(input_ids=ids, use_cache=True, **{cache_argument(model.forward): cache}, **arguments)


def keys_and_values(cache: Cache, layer: int) -> tuple[Tensor, Tensor] | None:
    """Return a layer's stored keys and values [B, heads, T, head size]; None if the layer does not keep all of them."""
    if layer >= len(cache.layers):
        return None
    stored = cache.layers[layer]
    if not isinstance(stored, DynamicLayer) or stored.keys is None or stored.values is None:
        return None
    return stored.keys, stored.values


def attention_implementation(config: object) -> str | None:
    """Return which attention a model uses ("eager", "sdpa", ...), from its text config; None if it does not say."""
    name: str | None = getattr(config, "_attn_implementation", None)
    return name


def takes_any_mask(config: object) -> bool:
    """Return whether the model's attention takes an additive mask of any pattern, not causal ones only."""
    return attention_implementation(config) in ANY_MASK_ATTENTION
