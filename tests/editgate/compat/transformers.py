"""What editgate uses of transformers' private parts, or by names that its releases changed.

- A model's cache argument: `past_key_values`, since 5.24 `cache` (`editors/models/compat.py`). A body that takes
  neither is run by HFLM instead of the engine.
- `config._attn_implementation` (since 4.36) has no public getter. Without it a model counts as one of unknown
  attention and is run by HFLM.
- `cache_utils.Cache(layers=...)` and `DynamicLayer` with `keys`, `values`, `is_initialized` and `update` (since 5.0):
  imported here only. Before a class of models is first run by the engine, a dozen tokens are compared with its own
  forward pass; if they differ, HFLM runs it.
- `hf_quantizer`, `is_quantized` and `config.quantization_config` of a model from a GGUF file (since 4.41). Its weights
  are plain numbers by then, but saving it is refused while these say that it is quantized.
- `utils.logging.disable_progress_bar`. Without it loading shows its progress bars.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import transformers
from torch import nn
from transformers.cache_utils import Cache, DynamicLayer

from editors.models.compat import MODEL_CACHE_ARGUMENTS, attention_implementation, cache_argument

__all__ = [
    "Cache",
    "DynamicLayer",
    "attention_implementation",
    "cache_argument",
    "forget_quantization",
    "has_forward_hooks",
    "hide_progress_bars",
    "takes_a_cache",
]


def takes_a_cache(forward: Callable[..., object]) -> bool:
    """Return whether a `forward` names its cache in a way that is known here."""
    return not set(MODEL_CACHE_ARGUMENTS).isdisjoint(inspect.signature(forward).parameters)


def hide_progress_bars() -> None:
    """Load models without progress bars, where transformers can."""
    getattr(transformers.utils.logging, "disable_progress_bar", lambda: None)()


def forget_quantization(model: transformers.PreTrainedModel) -> None:
    """Make a model whose weights were dequantized one like any other, which can be saved."""
    vars(model).update(hf_quantizer=None, is_quantized=False)
    for name in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(model.config, name):
            delattr(model.config, name)


def changes_as_it_runs(module: nn.Module) -> bool:
    """Return whether a forward pass leaves in the module what the next one reads: rotary frequencies by length.

    "dynamic" and "longrope" rewrite `inv_freq` at every pass (transformers 5.24, `dynamic_rope_update`). The type is
    one name, or one for each kind of layer.
    """
    kinds = getattr(module, "rope_type", None)
    return not {"dynamic", "longrope"}.isdisjoint(kinds.values() if isinstance(kinds, dict) else [kinds])


def has_forward_hooks(module: nn.Module) -> bool:
    """Return whether something is called before or after the module's `forward`; torch has no getter (2.13).

    Raises:
        AttributeError: torch keeps hooks elsewhere: a hook that is not seen would be left out of every score.
    """
    return bool(module._forward_hooks or module._forward_pre_hooks)  # noqa: SLF001 - as above
