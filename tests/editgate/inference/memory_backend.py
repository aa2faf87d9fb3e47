"""A model behind a memory, as lm-eval asks it: what no memory entry answers is the base's, by the fast engine.

The entry is chosen from the prompt's tokens alone, before anything is scored or written, so an item's options share one
decision, and neither batch nor padding has a part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.nn.functional import log_softmax

from editgate.errors import NonFiniteModel
from editgate.inference.backend import Backend, Completion, Generation
from editgate.inference.hflm_backend import HflmBackend
from editgate.inference.tokenize import Pair, Tokenizer, Tokens
from editgate.measure.weight_changes import Fingerprint, fingerprint
from editors.memory.memory_model import MemoryModel

ROWS = 16  # answered by the memory, in one forward pass

_BASE_ANSWERS: WeakKeyDictionary[MemoryModel[Any], tuple[Fingerprint, dict[Any, Any]]] = WeakKeyDictionary()


def _base_answers(model: MemoryModel[Any]) -> dict[Any, Any]:
    """What this wrapper's base has answered so far: it never changes, so every checkpoint asks it the same."""
    now = fingerprint(model.model)
    before, answers = _BASE_ANSWERS.get(model, (None, {}))
    if before != now:
        answers = {}
        _BASE_ANSWERS[model] = (now, answers)
    return answers


class MemoryBackend:
    """See `Backend`; `routed` counts the prompts that the memory answered so far."""

    def __init__(
        self, model: MemoryModel[object], tokenizer: Tokenizer, name: str, base: Backend, rows: int = ROWS
    ) -> None:
        self.model, self.tokenizer, self.name, self.base, self.rows = model, tokenizer, name, base, rows
        self.routed = 0
        self._known = _base_answers(model)

    def score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        """See `Backend.score`."""
        kept = self._kept([context for context, _ in pairs])
        self._ask([pair for pair in pairs if pair[0] not in kept], self.base.score)
        own = iter(self._score([pair for pair in pairs if pair[0] in kept]))
        return [next(own) if pair[0] in kept else self._known[pair] for pair in pairs]

    def generate(self, requests: Sequence[Completion]) -> list[Generation]:
        """See `Backend.generate`."""
        kept = self._kept([request.prompt for request in requests])
        self._ask([request for request in requests if request.prompt not in kept], self.base.generate)
        routed = [request for request in requests if request.prompt in kept]
        own = iter(HflmBackend(self.model, self.tokenizer, self.name).generate(routed) if routed else [])
        return [next(own) if request.prompt in kept else self._known[request] for request in requests]

    def _ask(self, asked: Sequence[Any], base: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
        """Let the base answer what it was not asked before."""
        new = [each for each in dict.fromkeys(asked) if each not in self._known]
        if new:
            self._known.update(zip(new, base(new), strict=True))

    def _kept(self, contexts: Sequence[Tokens]) -> set[Tokens]:
        """The prompts that the memory answers."""
        different = list(dict.fromkeys(contexts))
        routes = self.model.routes(different)
        kept = {context for context, route in zip(different, routes, strict=True) if route is not None}
        self.routed += len(kept)
        return kept

    @torch.inference_mode()
    def _score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        """As HFLM: inputs without the last token, padded on the right, called by position, no mask."""
        found: list[tuple[float, bool]] = []
        for start in range(0, len(pairs), self.rows):
            batch = pairs[start : start + self.rows]
            texts = [(context + continuation)[:-1] for context, continuation in batch]
            width = max(map(len, texts))
            ids = torch.tensor([[*text, *[0] * (width - len(text))] for text in texts], device=self.model.device)
            with self.model.reading([len(context) for context, _ in batch], list(map(len, texts))):
                logits: torch.Tensor = self.model(ids)["logits"]
            found += [self._answer(*pair, row) for pair, row in zip(batch, logits, strict=True)]
        return found

    def _answer(self, context: Tokens, continuation: Tokens, logits: torch.Tensor) -> tuple[float, bool]:
        """Sum of the continuation's log-probabilities, and whether greedy decoding would write it."""
        read = logits[len(context) - 1 : len(context) + len(continuation) - 1].float()
        if not bool(read.isfinite().all()):
            raise NonFiniteModel(f"{self.name}: the model's logits are NaN or infinite; no score means anything.")
        wanted = torch.tensor(continuation, device=read.device)
        chosen = log_softmax(read, -1).gather(1, wanted[:, None])
        return float(chosen.sum()), bool((read.argmax(-1) == wanted).all())
