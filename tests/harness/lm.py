"""The way to run a model: the shared-prefix engine, lm-eval's HFLM, or a memory before its base."""

from __future__ import annotations

from editors.parts.wrapped import WrappedModel
from tests.harness.backend import Backend, Model
from tests.harness.cutter import Tokenizer
from tests.harness.plain import is_plain
from tests.harness.routed import RoutedLM
from tests.harness.shared_prefix import SharedPrefixLM
from tests.harness.wrapped_lm import WrappedLM


def backend(model: Model, tokenizer: Tokenizer, name: str, *, max_tokens: int | None = None) -> Backend:
    """The way to run this model: the shared-prefix engine if it is a plain causal model, else HFLM.

    A model behind a memory (`WrappedModel`) is run as its base wherever no entry of the memory answers.

    Args:
        model: anything with config, device, forward and generate.
        tokenizer: its transformers tokenizer.
        name: what error messages call the work at hand, such as the benchmark.
        max_tokens: new tokens per forward pass of the engine.
    """
    if is_plain(model):
        return SharedPrefixLM(model, tokenizer, name, max_tokens=max_tokens)
    if isinstance(model, WrappedModel):
        return RoutedLM(model, tokenizer, name, backend(model.model, tokenizer, name))
    return WrappedLM(model, tokenizer, name)
