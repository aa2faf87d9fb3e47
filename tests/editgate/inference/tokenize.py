"""Tokenizes texts exactly as lm-eval's HFLM 0.4.13 does, special tokens included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Tokens = tuple[int, ...]
Pair = tuple[Tokens, Tokens]  # context, continuation
Tokenizer = Any  # a transformers tokenizer; its classes share no typed base


@dataclass(frozen=True)
class PairTokenizer:
    """Tokenizes as HFLM does, but many texts at a time and each text once."""

    tokenizer: Tokenizer

    @property
    def start(self) -> int:
        """The token that replaces an empty context: the beginning of text, or else its end."""
        first = self.tokenizer.bos_token_id
        return int(self.tokenizer.eos_token_id if first is None else first)

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> list[Pair]:
        """Return tokens of (context, continuation); white space at a context's end moves to the continuation."""
        moved = [(context.rstrip(), context[len(context.rstrip()) :] + text) for context, text in pairs]
        mark = self.tokenizer.decode(self.start)
        wholes = self._tokens([context + continuation for context, continuation in moved], mark)
        contexts = self._tokens([context for context, _ in moved], mark)
        return [
            (context, whole[len(context) :]) if text else self._after_nothing(continuation)
            for (text, continuation), context, whole in zip(moved, contexts, wholes, strict=True)
        ]

    def prompts(self, texts: Sequence[str]) -> list[Tokens]:
        """Return tokens of texts that a model is to continue."""
        return self._tokens(texts, self.tokenizer.bos_token)

    def _tokens(self, texts: Sequence[str], mark: str | None) -> list[Tokens]:
        """Return tokens of each text; the tokenizer adds special ones unless the text begins with `mark`."""
        known: dict[str, Tokens] = {}
        for marked in (False, True):
            part = [t for t in dict.fromkeys(texts) if t and (mark is not None and t.startswith(mark)) == marked]
            if part:
                extra = {"add_special_tokens": False} if marked else {}
                known |= zip(part, map(tuple, self.tokenizer(part, **extra)["input_ids"]), strict=True)
        return [known.get(text, ()) for text in texts]

    def _after_nothing(self, continuation: str) -> Pair:
        tokens = tuple(self.tokenizer.encode(continuation, add_special_tokens=False))
        return ((self.start,), tokens) if tokens[0] != self.start else (tokens[:1], tokens[1:])
