"""Similarity of two texts, for retrieval: TF-IDF, or the cosine of a text encoder's features."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

from editors.memory.encoders import Encoder

_WORD = re.compile(r"\w+")
Vector = Mapping[str, float]


class Similarity(Protocol):
    """Similarity of texts, -1 to 1; it depends on the two texts only."""

    def __call__(self, query: str, texts: Sequence[str]) -> list[float]:
        """Similarity of the query to each text."""


class TfIdf:
    """Cosine of two texts' words, capitals aside; a word in d of n texts has weight log((1 + n) / (1 + d))².

    The square, which common TF-IDF does not have, gives rare names more weight than the words of a relation,
    which all facts of one kind share: on the miniature's edits it separates rephrases from neighbors.

    Args:
        known: Texts to count words in; a word in none of them has the largest weight.
    """

    def __init__(self, known: Sequence[str]) -> None:
        self._count = len(known)
        self._document_counts = Counter(word for text in known for word in set(_words(text)))
        self._vectors: dict[str, Vector] = {}

    def __call__(self, query: str, texts: Sequence[str]) -> list[float]:
        """Similarity of the query to each text; 0 for a text without words."""
        vector = self._vector(query)
        others = map(self._vector, texts)
        return [sum(weight * other.get(word, 0.0) for word, weight in vector.items()) for other in others]

    def _vector(self, text: str) -> Vector:
        """Weights by word, of unit length; empty if every weight is 0."""
        if text not in self._vectors:
            counts = Counter(_words(text))
            raw = {
                word: count * math.log((1 + self._count) / (1 + self._document_counts[word])) ** 2
                for word, count in counts.items()
            }
            length = math.hypot(*raw.values()) or 1.0
            self._vectors[text] = {word: value / length for word, value in raw.items()}
        return self._vectors[text]


class Encoded:
    """Cosine of an encoder's features; each text is encoded alone, since a batch rounds differently.

    Args:
        encoder: Gives features [1, D] of a text.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._vectors: dict[str, Tensor] = {}

    def __call__(self, query: str, texts: Sequence[str]) -> list[float]:
        """Similarity of the query to each text."""
        vector = self._vector(query)
        return [float(vector @ self._vector(text)) for text in texts]

    def _vector(self, text: str) -> Tensor:
        if text not in self._vectors:
            features = self._encoder([text])[0]
            self._vectors[text] = features / features.norm().clamp_min(1e-12)
        return self._vectors[text]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
