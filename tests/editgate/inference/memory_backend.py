"""A model behind an editor's memory: what no memory entry answers is answered by the base, run by the fast engine.

The entry is chosen from the prompt's tokens alone, before anything is scored or generated, so an item's options share
one decision, and neither batch nor padding has a part in it. Where an entry is another weight of the base (WISE), its
prompts are run by the fast engine too, with that weight in place; and where it is a text before the prompt (IKE,
SERAC), with that text, which is read once for all prompts that it precedes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch.nn.functional import log_softmax

from editgate.errors import NonFiniteModel
from editgate.inference.backend import Backend, Completion, Generation, Model
from editgate.inference.hflm_backend import HflmBackend
from editgate.inference.shared_prefix_backend import SharedPrefixBackend
from editgate.inference.tokenize import Pair, Tokenizer, Tokens
from editgate.measure.weight_changes import Fingerprint, fingerprint
from editors.external.wrapper_model import WrapperModel
from editors.memory.memory_model import MemoryModel

R = TypeVar("R")  # a request
A = TypeVar("A")  # its answer

ROWS = 16  # prompts that the memory answers in one forward pass


@dataclass(frozen=True)
class _Task(Generic[R, A]):
    """What scoring and generating differ in.

    Attributes:
        prompt: of a request, in tokens.
        room: tokens that it may add to its prompt.
        reading: the same request with something else in the prompt's place.
        run: asks a backend.
    """

    prompt: Callable[[R], Tokens]
    room: Callable[[R], int]
    reading: Callable[[R, Tokens], R]
    run: Callable[[Backend, Sequence[R]], Sequence[A]]


SCORING: _Task[Pair, tuple[float, bool]] = _Task(
    prompt=lambda pair: pair[0],
    room=lambda pair: len(pair[1]),
    reading=lambda pair, text: (text, pair[1]),
    run=lambda lm, pairs: lm.score(pairs),
)
GENERATING: _Task[Completion, Generation] = _Task(
    prompt=lambda request: request.prompt,
    room=lambda request: request.max_new_tokens,
    reading=lambda request, text: replace(request, prompt=text),
    run=lambda lm, requests: lm.generate(requests),
)

# What each wrapper's base has answered so far: it never changes, so every checkpoint gets the same answers.
_BASE_ANSWERS: WeakKeyDictionary[MemoryModel[Any], tuple[Fingerprint, dict[Any, Any]]] = WeakKeyDictionary()


class MemoryBackend:
    """See `Backend`; `routed` counts the prompts that the memory answered so far.

    Args:
        model: the base behind its memory.
        tokenizer: its transformers tokenizer.
        name: what error messages call the work at hand, such as the benchmark.
        backend_of: the backend of `model.model`, and of a plain model that answers for the memory.
        rows: prompts that the memory answers in one forward pass.
    """

    def __init__(
        self,
        model: MemoryModel[object],
        tokenizer: Tokenizer,
        name: str,
        backend_of: Callable[[Model], Backend],
        rows: int = ROWS,
    ) -> None:
        self.model, self.tokenizer, self.name, self.rows = model, tokenizer, name, rows
        self.base, self._backend_of = backend_of(model.model), backend_of
        self.routed = 0
        now = fingerprint(model.model)
        if model not in _BASE_ANSWERS or _BASE_ANSWERS[model][0] != now:
            _BASE_ANSWERS[model] = (now, {})
        self._base_answers = _BASE_ANSWERS[model][1]

    def score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        """See `Backend.score`."""
        return self._answer(pairs, SCORING, self._score)

    def generate(self, requests: Sequence[Completion]) -> list[Generation]:
        """See `Backend.generate`."""
        return self._answer(requests, GENERATING, self._generate)

    def _answer(
        self, requests: Sequence[R], task: _Task[R, A], by_memory: Callable[[Sequence[R]], Sequence[A]]
    ) -> list[A]:
        routed = self._routed([task.prompt(request) for request in requests])
        run_base = partial(task.run, self.base)
        self._run_base(requests, run_base)
        own = [request for request in requests if task.prompt(request) in routed]
        routes = [routed[task.prompt(request)] for request in own]
        if self.model.exchanges_weights:
            answers = iter(self._exchanged(own, routes, run_base))
        else:
            answers = iter(self._own(own, routes, task, by_memory))
        return [next(answers) if task.prompt(each) in routed else self._base_answers[each] for each in requests]

    def _own(
        self,
        requests: Sequence[R],
        routes: Sequence[Hashable],
        task: _Task[R, A],
        by_memory: Callable[[Sequence[R]], Sequence[A]],
    ) -> list[A]:
        """Let plain models answer what they can, each on its engine, and the memory the rest.

        That is also what is longer with its answer than an engine can run itself.
        """
        engines: dict[int, Backend] = {}
        asked: dict[int, dict[int, R]] = defaultdict(dict)  # by model and index
        for index, (request, route) in enumerate(zip(requests, routes, strict=True)):
            if (found := self.model.read_instead(task.prompt(request), route)) is None:
                continue
            model, text = found
            engine = engines.get(id(model)) or engines.setdefault(id(model), self._backend_of(model))
            if isinstance(engine, SharedPrefixBackend) and len(text) + task.room(request) <= engine.window:
                asked[id(model)][index] = task.reading(request, text)
        answers: dict[int, A] = {}
        for key, of_model in asked.items():
            answers.update(zip(of_model, task.run(engines[key], [*of_model.values()]), strict=True))
        rest = [index for index in range(len(requests)) if index not in answers]
        answers.update(zip(rest, by_memory([requests[index] for index in rest]), strict=True))
        return [answers[index] for index in range(len(requests))]

    def _generate(self, requests: Sequence[Completion]) -> list[Generation]:
        return HflmBackend(self.model, self.tokenizer, self.name).generate(requests) if requests else []

    def _exchanged(
        self, requests: Sequence[R], routes: Sequence[Hashable], run: Callable[[Sequence[R]], Sequence[A]]
    ) -> list[A]:
        """Let the base answer, for each entry with that entry's weight in place."""
        answers: dict[int, A] = {}
        for route in dict.fromkeys(routes):
            indices = [index for index, each in enumerate(routes) if each == route]
            with self.model.exchanged(route):
                answers.update(zip(indices, run([requests[index] for index in indices]), strict=True))
        return [answers[index] for index in range(len(requests))]

    def _run_base(self, requests: Sequence[Any], run: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
        """Let the base answer what it has not answered before, also what the memory answers this time.

        Rounding depends on what stands in one batch, and which prompts are routed on how many edits were made.
        """
        new = [request for request in dict.fromkeys(requests) if request not in self._base_answers]
        if new:
            self._base_answers.update(zip(new, run(new), strict=True))

    def _routed(self, contexts: Sequence[Tokens]) -> dict[Tokens, Any]:
        """Return the entry of each prompt that the memory answers, and count these prompts.

        Somebody else's wrapper is asked everything and does not tell what its memory answers: nothing is counted.
        """
        different = list(dict.fromkeys(contexts))
        routes = self.model.routes(different)
        routed = {context: route for context, route in zip(different, routes, strict=True) if route is not None}
        self.routed += 0 if isinstance(self.model, WrapperModel) else len(routed)
        return routed

    @torch.inference_mode()
    def _score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        """Score as HFLM does: inputs [B, T] without the last token, padded on the right, no mask, by position."""
        scores: list[tuple[float, bool]] = []
        for start in range(0, len(pairs), self.rows):
            batch = pairs[start : start + self.rows]
            texts = [(context + continuation)[:-1] for context, continuation in batch]
            width = max(map(len, texts))
            ids = torch.tensor([[*text, *[0] * (width - len(text))] for text in texts], device=self.model.device)
            with self.model.reading([len(context) for context, _ in batch], list(map(len, texts))):
                logits: torch.Tensor = self.model(ids)["logits"]
            scores += [self._score_row(*pair, row) for pair, row in zip(batch, logits, strict=True)]
        return scores

    def _score_row(self, context: Tokens, continuation: Tokens, logits: torch.Tensor) -> tuple[float, bool]:
        """Return the continuation's log-likelihood from logits [T, V], and whether greedy decoding writes it."""
        read = logits[len(context) - 1 : len(context) + len(continuation) - 1].float()
        if not bool(read.isfinite().all()):
            raise NonFiniteModel(f"{self.name}: the model's logits are NaN or infinite; no score means anything.")
        target = torch.tensor(continuation, device=read.device)
        chosen = log_softmax(read, -1).gather(1, target[:, None])
        return float(chosen.sum()), bool((read.argmax(-1) == target).all())
