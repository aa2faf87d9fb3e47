"""Any model that transformers could run, through lm-eval's own HFLM: slower than the engine, and for everything."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from torch import Tensor, nn

from editgate.compat import lm_eval_quiet
from editgate.errors import NonFiniteModel
from editgate.inference.backend import Completion, Generation, Model, most_tokens, require_room
from editgate.inference.tokenize import Pair, Tokenizer


class _CheckedHFLM(HFLM):  # type: ignore[misc]  # lm-eval has no types
    """HFLM that refuses NaN instead of scoring it."""

    name = ""

    def _model_call(self, inps: Tensor, *args: object, **kwargs: object) -> Tensor:
        logits: Tensor = super()._model_call(inps, *args, **kwargs)
        if not bool(logits.isfinite().all()):
            raise NonFiniteModel(f"{self.name}: the model's logits are NaN or infinite; no score means anything.")
        return logits


class HflmBackend:
    """Any HF-like object, through lm-eval's own HFLM with float32 log-probabilities.

    HFLM's constructor re-ties weights, which would silently revert the edit of an untied head; not here.
    """

    def __init__(self, model: Model, tokenizer: Tokenizer, name: str, batch_size: int = 16) -> None:
        self.name = name
        self.routed = 0
        with lm_eval_quiet(), _weights_left_alone(model):
            self.lm = _CheckedHFLM(
                pretrained=model,
                tokenizer=copy.deepcopy(tokenizer),  # HFLM may give it a padding token
                backend="causal",
                batch_size=batch_size,
                softmax_dtype="float32",
            )
        self.lm.name = name

    def score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        """See `Backend.score`."""
        longest = max((len(context) + len(continuation) - 1 for context, continuation in pairs), default=0)
        require_room(self.name, longest, self.lm.max_length)
        requests = [(("", ""), list(context), list(continuation)) for context, continuation in pairs]
        answers: list[tuple[float, bool]] = self.lm._loglikelihood_tokens(requests, disable_tqdm=True)  # noqa: SLF001 - the tokens are cut already
        return answers

    def generate(self, requests: Sequence[Completion]) -> list[Generation]:
        """See `Backend.generate`; `capped` is judged by the length of the text."""
        instances, limits = [], []
        for index, request in enumerate(requests):
            limits.append(most_tokens(self.name, request, self.lm.max_length))
            settings = {"until": list(request.until), "max_gen_toks": limits[-1], "do_sample": False}
            instances.append(Instance("generate_until", {}, (request.text, settings), index))
        if requests:
            longest = max(requests, key=lambda request: len(request.prompt))
            self.lm._model_call(torch.tensor([longest.prompt], device=self.lm.device))  # noqa: SLF001 - for its check
        texts = self.lm.generate_until(instances, disable_tqdm=True)
        return [Generation(text, self._length(text) >= limit) for text, limit in zip(texts, limits, strict=True)]

    def _length(self, text: str) -> int:
        return len(self.lm.tokenizer.encode(text, add_special_tokens=False))


@contextmanager
def _weights_left_alone(model: object) -> Iterator[None]:
    """Inside, `model.tie_weights()` does nothing."""
    if not isinstance(model, nn.Module):
        yield
        return
    before = vars(model).get("tie_weights")
    vars(model)["tie_weights"] = lambda *_, **__: None
    try:
        yield
    finally:
        del vars(model)["tie_weights"]
        if before is not None:
            vars(model)["tie_weights"] = before
