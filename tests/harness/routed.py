"""A model behind a memory, as lm-eval asks it: what no memory entry answers is the base's, by the fast engine.

The entry is chosen from the prompt's tokens alone, before anything is scored or written, so an item's options share one
decision, and neither batch nor padding has a part in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import log_softmax

from editors.parts.wrapped import WrappedModel
from tests.harness import lm
from tests.harness.cutter import Pair, Tokenizer, Tokens
from tests.harness.errors import NonFiniteModel

ROWS = 16  # answered by the memory, in one forward pass


class RoutedLM:
    """See `lm.Backend`; `routed` counts the prompts that the memory answered so far."""

    def __init__(self, model: WrappedModel[object], tokenizer: Tokenizer, name: str, rows: int = ROWS) -> None:
        self.model, self.tokenizer, self.name, self.rows = model, tokenizer, name, rows
        self.base = lm.backend(model.model, tokenizer, name)
        self.routed = 0

    def score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        """See `Backend.score`."""
        kept = self._kept([context for context, _ in pairs])
        answers = iter(self.base.score([pair for pair in pairs if pair[0] not in kept]))
        own = iter(self._score([pair for pair in pairs if pair[0] in kept]))
        return [next(own if context in kept else answers) for context, _ in pairs]

    def generate(self, requests: Sequence[lm.Completion]) -> list[lm.Written]:
        """See `Backend.generate`."""
        kept = self._kept([request.prompt for request in requests])
        answers = iter(self.base.generate([r for r in requests if r.prompt not in kept]))
        routed = [r for r in requests if r.prompt in kept]
        own = iter(lm.WrappedLM(self.model, self.tokenizer, self.name).generate(routed) if routed else [])
        return [next(own if request.prompt in kept else answers) for request in requests]

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
            with self.model.reading([len(context) for context, _ in batch]):
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
