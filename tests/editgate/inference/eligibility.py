"""Which models the fast engine may run: those whose forward pass is their body, then their head, and nothing else."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor
from transformers import PreTrainedModel

from editgate.inference.backend import Model, eval_mode
from editgate.inference.engine import Engine
from editgate.inference.tokenize import Tokens

RESCALED = ("final_logit_softcapping", "logit_scale", "logits_scaling")  # logits that are not head(body(x))


def runs_on_engine(model: Model) -> bool:
    """True for a transformers model whose forward pass is its body, then its head, and nothing else.

    Hooks or a replaced `forward` on the model itself would be passed by; logits that are scaled after the
    head would come out wrong, and so would attention that takes no mask of ours. What cannot be read off the
    model is tried: a dozen tokens through both ways, once per class of model.
    """
    if not isinstance(model, PreTrainedModel) or not type(model).__module__.startswith("transformers.models."):
        return False
    patched = "forward" in vars(model) or model._forward_hooks or model._forward_pre_hooks  # noqa: SLF001 - torch has no getter
    config = model.config.get_text_config()
    if patched or any(getattr(config, key, None) for key in RESCALED) or model.base_model is model:
        return False
    if config._attn_implementation not in {"sdpa", "eager"}:  # noqa: SLF001 - transformers has no getter
        return False
    taken = inspect.signature(model.base_model.forward).parameters
    return {"attention_mask", "position_ids", "past_key_values"} <= set(taken) and _agrees(model)


_AGREEMENT: dict[type, bool] = {}  # by class of model: a fact about code, not about weights


@torch.inference_mode()
def _agrees(model: PreTrainedModel) -> bool:
    """Whether the engine reproduces the model's own forward pass on a few tokens, reading and writing."""
    if type(model) not in _AGREEMENT:
        tokens = tuple(i * 7919 % model.config.get_text_config().vocab_size for i in range(1, 13))
        pairs = [(tokens[:5], tokens[5:7]), (tokens[:5], tokens[7:10]), (tokens[:3] + tokens[6:8], tokens[10:])]
        engine = Engine(model, "trial")
        with eval_mode(model):
            wanted = torch.stack([_plain_logprobs(model, *pair).sum() for pair in pairs])
            if not wanted.isfinite().all():
                return True  # a broken model; the engine says so by name
            found = wanted.new_tensor([value for value, _ in engine.score(pairs)])
            written = tuple(engine.generate([tokens[:5]], [3], lambda _: False)[0])
            regret = _plain_logprobs(model, tokens[:5], written, regret=True)
        tolerance = 1e-3 if model.dtype == torch.float32 else 5e-2
        read = torch.allclose(wanted, found, rtol=tolerance, atol=tolerance)
        _AGREEMENT[type(model)] = read and float(regret.max()) <= tolerance * (1 + float(wanted.abs().max()))
    return _AGREEMENT[type(model)]


def _plain_logprobs(model: Model, context: Tokens, continuation: Tokens, *, regret: bool = False) -> Tensor:
    """Log-probability of each token by the model's own forward pass, or how far below the best it is."""
    ids = torch.tensor([context + continuation], device=model.device)
    logprobs = model(ids).logits[0, len(context) - 1 : -1].float().log_softmax(-1)
    chosen: Tensor = logprobs.gather(1, ids[0, len(context) :, None])[:, 0]
    return logprobs.amax(-1) - chosen if regret else chosen
