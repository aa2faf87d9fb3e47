"""A plain causal model behind lm-eval's interface, run by the engine.

Texts are cut into tokens exactly as HFLM 0.4.13 cuts them, special tokens included, and generations are stopped where
HFLM stops them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from typing import NoReturn

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, postprocess_generated_text, resolve_max_length

from editgate.inference.backend import Completion, Generation, Model, eval_mode, most_tokens, require_room
from editgate.inference.engine import Engine
from editgate.inference.hflm_backend import HflmBackend
from editgate.inference.tokenize import Pair, PairTokenizer, Tokenizer

LOOK_BACK = 2  # tokens beyond a stop string's own length: as in lm-eval, tokens may cut it differently
WINDOWS = ("sliding_window", "window_size", "attention_chunk_size")  # beyond them attention is not our mask's


class SharedPrefixBackend(TemplateLM):  # type: ignore[misc]  # lm-eval has no types
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
        self.cutter = PairTokenizer(tokenizer)
        self.engine = Engine(model, name, max_tokens)
        self.max_length = resolve_max_length(model.config, tokenizer)
        config = model.config.get_text_config()
        self.window = min([self.max_length, *filter(None, (getattr(config, key, None) for key in WINDOWS))])

    def score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        """See `Backend.score`; texts longer than a sliding window go the plain way."""
        longest = max((len(context) + len(continuation) - 1 for context, continuation in pairs), default=0)
        require_room(self.name, longest, self.max_length)
        if longest > self.window:
            return HflmBackend(self.model, self.tokenizer, self.name).score(pairs)
        with eval_mode(self.model):
            return self.engine.score(pairs)

    def generate(self, requests: Sequence[Completion]) -> list[Generation]:
        """See `Backend.generate`."""
        limits = [most_tokens(self.name, request, self.max_length) for request in requests]
        if any(len(r.prompt) + limit > self.window for r, limit in zip(requests, limits, strict=True)):
            return HflmBackend(self.model, self.tokenizer, self.name).generate(requests)
        written: list[Generation] = [Generation("", capped=False)] * len(requests)
        by_stops: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            by_stops[request.until].append(index)
        for until, members in by_stops.items():
            stops = handle_stop_sequences(list(until), self.tokenizer.decode(self.eot_token_id))
            finished = self._finished(stops)
            with eval_mode(self.model):
                texts = self.engine.generate(
                    [requests[i].prompt for i in members], [limits[i] for i in members], finished
                )
            for i, tokens in zip(members, texts, strict=True):
                text = self.tokenizer.decode(tokens, skip_special_tokens=True)
                capped = len(tokens) >= limits[i] and not finished(tokens)
                written[i] = Generation(postprocess_generated_text(text, stops, None), capped)
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
        raise NotImplementedError("loglikelihood_rolling: use surprise.perplexity")
