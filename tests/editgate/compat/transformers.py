"""What editgate uses of transformers' private parts, or by names that its releases changed.

- A model's cache argument: `past_key_values`, since 5.24 `cache` (`editors/models/compat.py`). A body that takes
  neither is run by HFLM instead of the engine.
- `config._attn_implementation` (since 4.36) has no public getter, and the public setter rebuilds more than it. Without
  it a model counts as one of unknown attention and is run by HFLM.
- `AttentionInterface` (since 4.48) and `integrations.sdpa_attention.sdpa_attention_forward`: one query at a time on a
  CPU. Without them generations use the model's own attention, which takes two to three times as long there.
- `cache_utils.Cache(layers=...)` and `DynamicLayer` with `keys`, `values`, `is_initialized` and `update` (since 5.0):
  imported here only. Before a class of models is first run by the engine, a dozen tokens are compared with its own
  forward pass; if they differ, HFLM runs it.
- `utils.logging.disable_progress_bar`. Without it loading shows its progress bars.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import transformers
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicLayer

from editgate.compat import require
from editgate.errors import IncompatibleLibrary
from editors.models.compat import MODEL_CACHE_ARGUMENTS, attention_implementation, cache_argument

__all__ = [
    "Cache",
    "DynamicLayer",
    "attention",
    "attention_implementation",
    "cache_argument",
    "fused_attention",
    "has_forward_hooks",
    "hide_progress_bars",
    "takes_a_cache",
]

Attention = Callable[..., tuple[Tensor, Tensor | None]]


def takes_a_cache(forward: Callable[..., object]) -> bool:
    """Return whether a `forward` names its cache in a way that is known here."""
    return not set(MODEL_CACHE_ARGUMENTS).isdisjoint(inspect.signature(forward).parameters)


@contextmanager
def attention(config: Any, name: str, function: Attention) -> Iterator[None]:  # noqa: ANN401 - configs share no typed base
    """Inside, models with this config use `function` for attention; `name` is what transformers calls it.

    Where transformers has no registry of attention functions, they go on using their own.
    """
    registry = getattr(transformers, "AttentionInterface", None)
    usual = attention_implementation(config)
    if registry is None or usual is None:
        yield
        return
    registry.register(name, function)
    config._attn_implementation = name  # noqa: SLF001 - the public setter rebuilds more than this
    try:
        yield
    finally:
        config._attn_implementation = usual  # noqa: SLF001 - as above


def fused_attention() -> Attention | None:
    """Return transformers' attention by PyTorch's fused kernel; None if it is not where it was."""
    try:
        function: Attention = require(
            "transformers.integrations.sdpa_attention.sdpa_attention_forward", "attend to prompts"
        )
    except IncompatibleLibrary:
        return None
    return function


def hide_progress_bars() -> None:
    """Load models without progress bars, where transformers can."""
    getattr(transformers.utils.logging, "disable_progress_bar", lambda: None)()


def has_forward_hooks(module: nn.Module) -> bool:
    """Return whether something is called before or after the module's `forward`; torch has no getter (2.13).

    Raises:
        AttributeError: torch keeps hooks elsewhere: a hook that is not seen would be left out of every score.
    """
    return bool(module._forward_hooks or module._forward_pre_hooks)  # noqa: SLF001 - as above
