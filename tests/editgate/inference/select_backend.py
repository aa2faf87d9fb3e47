"""The way to run a model: the shared-prefix engine, lm-eval's HFLM, or a memory before its base."""

from __future__ import annotations

from editgate.inference.backend import Backend, Model
from editgate.inference.eligibility import runs_on_engine
from editgate.inference.hflm_backend import HflmBackend
from editgate.inference.memory_backend import MemoryBackend
from editgate.inference.shared_prefix_backend import SharedPrefixBackend
from editgate.inference.tokenize import Tokenizer
from editors.memory.memory_model import MemoryModel


def backend(model: Model, tokenizer: Tokenizer, name: str, *, max_tokens: int | None = None) -> Backend:
    """The way to run this model: the shared-prefix engine if it is a plain causal model, else HFLM.

    A model behind a memory (`MemoryModel`) is run as its base wherever no entry of the memory answers.

    Args:
        model: anything with config, device, forward and generate.
        tokenizer: its transformers tokenizer.
        name: what error messages call the work at hand, such as the benchmark.
        max_tokens: new tokens per forward pass of the engine.
    """
    if runs_on_engine(model):
        return SharedPrefixBackend(model, tokenizer, name, max_tokens=max_tokens)
    if isinstance(model, MemoryModel):
        return MemoryBackend(model, tokenizer, name, backend(model.model, tokenizer, name))
    return HflmBackend(model, tokenizer, name)
