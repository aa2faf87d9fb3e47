"""Which backend runs a model: the shared-prefix engine, lm-eval's HFLM, or an editor's memory before its base."""

from __future__ import annotations

import inspect
from functools import partial

import torch
import transformers
from torch import Tensor

from editgate.compat.transformers import attention_implementation, has_forward_hooks, takes_a_cache
from editgate.inference.backend import Backend, Model, eval_mode
from editgate.inference.engine import Engine
from editgate.inference.hflm_backend import HflmBackend
from editgate.inference.memory_backend import MemoryBackend
from editgate.inference.shared_prefix_backend import SharedPrefixBackend
from editgate.inference.tokenize import Tokenizer, Tokens
from editors.core.typing import PreTrainedModel
from editors.memory.memory_model import MemoryModel

RESCALED = ("final_logit_softcapping", "logit_scale", "logits_scaling")  # logits that are not head(body(x))

_AGREEMENT: dict[type, bool] = {}  # by class of model: a fact about code, not about weights


def backend(model: Model, tokenizer: Tokenizer, name: str, *, max_tokens: int | None = None) -> Backend:
    """Return the backend for this model: the shared-prefix engine if it is a plain causal model, else HFLM.

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
        return MemoryBackend(model, tokenizer, name, partial(backend, tokenizer=tokenizer, name=name))
    return HflmBackend(model, tokenizer, name)


def runs_on_engine(model: Model) -> bool:
    """Return whether it is a transformers model whose forward pass is its body, then its head, and nothing else.

    The engine would skip hooks or a replaced `forward` on the model itself; logits that are scaled after the head
    would come out wrong, and so would attention that ignores the engine's mask. What cannot be read off the model is
    tried: a dozen tokens through the engine and through the model, once per class of model.
    """
    theirs = type(model).__module__.startswith("transformers.models.")
    if not isinstance(model, transformers.PreTrainedModel) or not theirs:
        return False
    config = model.config.get_text_config()
    if "forward" in vars(model) or has_forward_hooks(model) or model.base_model is model:
        return False
    if any(getattr(config, key, None) for key in RESCALED) or attention_implementation(config) not in {"sdpa", "eager"}:
        return False
    forward = model.base_model.forward
    takes_mask = {"attention_mask", "position_ids"} <= set(inspect.signature(forward).parameters)
    return takes_mask and takes_a_cache(forward) and _agrees(model)


@torch.inference_mode()
def _agrees(model: PreTrainedModel) -> bool:
    """Return whether the engine reproduces the model's own forward pass on a few tokens, scoring and generating."""
    if type(model) not in _AGREEMENT:
        tokens = tuple(i * 7919 % model.config.get_text_config().vocab_size for i in range(1, 13))
        pairs = [(tokens[:5], tokens[5:7]), (tokens[:5], tokens[7:10]), (tokens[:3] + tokens[6:8], tokens[10:])]
        engine = Engine(model, "trial")
        with eval_mode(model):
            expected = torch.stack([_plain_logprobs(model, *pair).sum() for pair in pairs])
            if not expected.isfinite().all():
                return True  # a broken model; the engine says so by name
            try:
                scored = expected.new_tensor([value for value, _ in engine.score(pairs)])
                generated = tuple(engine.generate([tokens[:5]], [3], lambda _: False)[0])
            except (ValueError, TypeError, AttributeError, RuntimeError):  # it keeps more than keys and values
                _AGREEMENT[type(model)] = False
                return False
            regret = _plain_logprobs(model, tokens[:5], generated, regret=True)
        tolerance = 1e-3 if model.dtype == torch.float32 else 5e-2
        close = torch.allclose(expected, scored, rtol=tolerance, atol=tolerance)
        _AGREEMENT[type(model)] = close and float(regret.max()) <= tolerance * (1 + float(expected.abs().max()))
    return _AGREEMENT[type(model)]


def _plain_logprobs(model: Model, context: Tokens, continuation: Tokens, *, regret: bool = False) -> Tensor:
    """Return each token's log-probability by the model's own forward pass, or how far below the best it is."""
    ids = torch.tensor([context + continuation], device=model.device)
    logprobs = model(ids).logits[0, len(context) - 1 : -1].float().log_softmax(-1)
    chosen: Tensor = logprobs.gather(1, ids[0, len(context) :, None])[:, 0]
    return logprobs.amax(-1) - chosen if regret else chosen
