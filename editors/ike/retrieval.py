"""How alike two texts are, for memories of text: by their rarest common words, or by a sentence encoder."""

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
    """Similarity of texts, -1 to 1; of two texts the same whatever else was asked."""

    def __call__(self, query: str, texts: Sequence[str]) -> list[float]:
        """Similarity of the query to each text."""


class TfIdf:
    """Cosine of two texts' words, capitals aside; a word that d of n texts hold weighs log((1 + n) / (1 + d))².

    The square, which common TF-IDF does not have, lets the names that few texts hold outweigh the words of a relation,
    which all the facts of one kind share: on the miniature's edits it parts rewordings from neighbors with a gap.

    Args:
        known: Texts to count words in; a word that none of them holds weighs most.
    """

    def __init__(self, known: Sequence[str]) -> None:
        self._count = len(known)
        self._holding = Counter(word for text in known for word in set(_words(text)))
        self._vectors: dict[str, Vector] = {}

    def __call__(self, query: str, texts: Sequence[str]) -> list[float]:
        """Similarity of the query to each text; 0 for a text without words."""
        asked = self._vector(query)
        found = []
        for text in texts:
            other = self._vector(text)
            found.append(sum(weight * other.get(word, 0.0) for word, weight in asked.items()))
        return found

    def _vector(self, text: str) -> Vector:
        """Weights by word, of unit length; empty where no word weighs anything."""
        if text not in self._vectors:
            raw = {word: count * self._weight(word) for word, count in Counter(_words(text)).items()}
            length = math.hypot(*raw.values()) or 1.0
            self._vectors[text] = {word: value / length for word, value in raw.items()}
        return self._vectors[text]

    def _weight(self, word: str) -> float:
        return math.log((1 + self._count) / (1 + self._holding[word])) ** 2


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
        asked = self._vector(query)
        return [float(asked @ self._vector(text)) for text in texts]

    def _vector(self, text: str) -> Tensor:
        if text not in self._vectors:
            features = self._encoder([text])[0]
            self._vectors[text] = features / features.norm().clamp_min(1e-12)
        return self._vectors[text]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
