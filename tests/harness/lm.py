"""The language model as lm-eval sees it: log-likelihoods and greedy generation, with lm-eval's own numbers.

`backend` gives the fast engine for plain transformers models and lm-eval's HFLM for everything else
(wrappers, models that answer with a function of their own). Texts are cut into tokens exactly as HFLM 0.4.13
cuts them, special tokens included, and generations are stopped where HFLM stops them.
"""

from __future__ import annotations

import copy
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn, Protocol

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, postprocess_generated_text, resolve_max_length
from torch import Tensor, nn
from transformers import PreTrainedModel

from editors.parts.wrapped import WrappedModel
from tests.harness.cutter import Cutter, Pair, Tokenizer, Tokens
from tests.harness.engine import Engine
from tests.harness.errors import EvaluationError, NonFiniteModel
from tests.harness.quiet import lm_eval_quiet

Model = Any  # a PreTrainedModel, or a wrapper: anything with config, device, forward and generate

LOOK_BACK = 2  # tokens beyond a stop string's own length: as in lm-eval, tokens may cut it differently
RESCALED = ("final_logit_softcapping", "logit_scale", "logits_scaling")  # logits that are not head(body(x))
WINDOWS = ("sliding_window", "window_size", "attention_chunk_size")  # beyond them attention is not our mask's


@dataclass(frozen=True, slots=True)
class Completion:
    """A request to write on from `text`; `prompt` is the same text in tokens."""

    text: str
    prompt: Tokens
    until: tuple[str, ...]
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class Written:
    """A generation, cut before its first stop string; `capped` if only the length limit ended it."""

    text: str
    capped: bool


class Backend(Protocol):
    """What evaluations ask of a model; `routed` counts the prompts that a memory answered."""

    routed: int

    def score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation, and whether greedy decoding would write it."""

    def generate(self, requests: Sequence[Completion]) -> list[Written]:
        """Greedy generations."""


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
        from tests.harness.routed import RoutedLM  # noqa: PLC0415 - it asks this module for the base's backend

        return RoutedLM(model, tokenizer, name)
    return WrappedLM(model, tokenizer, name)


def is_plain(model: Model) -> bool:
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
        with _eval_mode(model):
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


class SharedPrefixLM(TemplateLM):  # type: ignore[misc]  # lm-eval has no types
    """A plain causal model in memory, behind lm-eval's interface. Never changes or re-ties a parameter.

    Raises:
        EvaluationError: a text does not fit into the model's context.
        NonFiniteModel: logits are NaN or infinite.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        name: str = "lm-eval",
        *,
        max_tokens: int | None = None,
    ) -> None:
        super().__init__()
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.routed = 0
        self.cutter = Cutter(tokenizer)
        self.engine = Engine(model, name, max_tokens)
        self.max_length = resolve_max_length(model.config, tokenizer)
        config = model.config.get_text_config()
        self.window = min([self.max_length, *filter(None, (getattr(config, key, None) for key in WINDOWS))])

    def score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        """See `Backend.score`; texts longer than a sliding window go the plain way."""
        longest = max((len(context) + len(continuation) - 1 for context, continuation in pairs), default=0)
        _require_room(self.name, longest, self.max_length)
        if longest > self.window:
            return WrappedLM(self.model, self.tokenizer, self.name).score(pairs)
        with _eval_mode(self.model):
            return self.engine.score(pairs)

    def generate(self, requests: Sequence[Completion]) -> list[Written]:
        """See `Backend.generate`."""
        limits = [_limit(self.name, request, self.max_length) for request in requests]
        if any(len(r.prompt) + limit > self.window for r, limit in zip(requests, limits, strict=True)):
            return WrappedLM(self.model, self.tokenizer, self.name).generate(requests)
        written: list[Written] = [Written("", capped=False)] * len(requests)
        by_stops: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            by_stops[request.until].append(index)
        for until, members in by_stops.items():
            stops = handle_stop_sequences(list(until), self.tokenizer.decode(self.eot_token_id))
            finished = self._finished(stops)
            with _eval_mode(self.model):
                texts = self.engine.generate(
                    [requests[i].prompt for i in members], [limits[i] for i in members], finished
                )
            for i, tokens in zip(members, texts, strict=True):
                text = self.tokenizer.decode(tokens, skip_special_tokens=True)
                capped = len(tokens) >= limits[i] and not finished(tokens)
                written[i] = Written(postprocess_generated_text(text, stops, None), capped)
        return written

    def _finished(self, stops: Sequence[str]) -> Callable[[Sequence[int]], bool]:
        """Tells whether the newest token ends the text or completes a stop string."""
        ends = getattr(self.model.generation_config, "eos_token_id", None)
        ending = {self.eot_token_id, *(ends if isinstance(ends, list) else [ends])}
        stops = [stop for stop in stops if stop]
        lengths = [len(self.tokenizer.encode(stop, add_special_tokens=False)) for stop in stops]
        tail = max(lengths, default=0) + LOOK_BACK
        may_complete = self._may_complete(stops)

        def finished(tokens: Sequence[int]) -> bool:
            if tokens[-1] in ending:
                return True
            if not may_complete(tokens[-1]):
                return False
            recent = self.tokenizer.decode(tokens[-tail:])
            return any(stop in recent for stop in stops)

        return finished

    def _may_complete(self, stops: Sequence[str]) -> Callable[[int], bool]:
        """Tells whether a token holds the last character of a stop string; decoding each text would be slow.

        A token's own text lacks white space at its edge with some tokenizers, and parts of characters beyond
        ASCII: with stop strings that end in such, every token may complete one.
        """
        lasts = {stop[-1] for stop in stops}
        if any(last == " " or not last.isascii() for last in lasts):
            return lambda _: True
        return cache(lambda token: not lasts.isdisjoint(self.tokenizer.decode([token])))

    @property
    def eot_token_id(self) -> int:
        """The end of a text."""
        return int(self.tokenizer.eos_token_id)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: object) -> list[int]:  # noqa: FBT001 - lm-eval's signature
        """lm-eval's hook for one text."""
        if add_special_tokens is not None:
            return list(self.tokenizer.encode(string, add_special_tokens=add_special_tokens))
        return list(self.cutter.texts([string], self.tokenizer.decode(self.cutter.start))[0])

    def loglikelihood(
        self,
        requests: list[Instance],
        disable_tqdm: bool = False,  # noqa: ARG002, FBT001, FBT002 - lm-eval's signature
    ) -> list[tuple[float, bool]]:
        """lm-eval's way in."""
        return self.score(self.cutter.pairs([request.args for request in requests]))

    def generate_until(
        self,
        requests: list[Instance],
        disable_tqdm: bool = False,  # noqa: ARG002, FBT001, FBT002 - lm-eval's signature
    ) -> list[str]:
        """lm-eval's way in; greedy, whatever the request's sampling settings."""
        prompts = self.cutter.prompts([request.args[0] for request in requests])
        completions = [
            Completion(r.args[0], prompt, tuple(r.args[1].get("until", ())), r.args[1].get("max_gen_toks", 256))
            for r, prompt in zip(requests, prompts, strict=True)
        ]
        return [written.text for written in self.generate(completions)]

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **_: object
    ) -> list[tuple[float, bool]]:
        return self.score([(tuple(context), tuple(continuation)) for _, context, continuation in requests])

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> NoReturn:  # noqa: FBT001, FBT002 - lm-eval's signature
        """No benchmark of ours measures whole documents; the probes do it without lm-eval."""
        raise NotImplementedError("loglikelihood_rolling: use probes.perplexity")


class _CheckedHFLM(HFLM):  # type: ignore[misc]  # lm-eval has no types
    """HFLM that refuses NaN instead of scoring it."""

    name = ""

    def _model_call(self, inps: Tensor, *args: object, **kwargs: object) -> Tensor:
        logits: Tensor = super()._model_call(inps, *args, **kwargs)
        if not bool(logits.isfinite().all()):
            raise NonFiniteModel(f"{self.name}: the model's logits are NaN or infinite; no score means anything.")
        return logits


class WrappedLM:
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
        _require_room(self.name, longest, self.lm.max_length)
        requests = [(("", ""), list(context), list(continuation)) for context, continuation in pairs]
        answers: list[tuple[float, bool]] = self.lm._loglikelihood_tokens(requests, disable_tqdm=True)  # noqa: SLF001 - the tokens are cut already
        return answers

    def generate(self, requests: Sequence[Completion]) -> list[Written]:
        """See `Backend.generate`; `capped` is judged by the length of the text."""
        instances, limits = [], []
        for index, request in enumerate(requests):
            limits.append(_limit(self.name, request, self.lm.max_length))
            settings = {"until": list(request.until), "max_gen_toks": limits[-1], "do_sample": False}
            instances.append(Instance("generate_until", {}, (request.text, settings), index))
        if requests:
            longest = max(requests, key=lambda request: len(request.prompt))
            self.lm._model_call(torch.tensor([longest.prompt], device=self.lm.device))  # noqa: SLF001 - for its check
        texts = self.lm.generate_until(instances, disable_tqdm=True)
        return [Written(text, self._length(text) >= limit) for text, limit in zip(texts, limits, strict=True)]

    def _length(self, text: str) -> int:
        return len(self.lm.tokenizer.encode(text, add_special_tokens=False))


def _require_room(name: str, needed: int, available: int) -> None:
    if needed > available:
        raise EvaluationError(
            f"{name}: the longest text has {needed} tokens, the model's context only {available}. To cut it "
            "would change the question; choose fewer worked examples (num_fewshot) or another model."
        )


def _limit(name: str, request: Completion, available: int) -> int:
    """How many tokens may be written: as asked, or as many as still fit."""
    _require_room(name, len(request.prompt) + 1, available)
    return min(request.max_new_tokens, available - len(request.prompt))


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """No dropout while scoring; the model's mode is given back."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


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
