"""Scope classifier: is a query about a stored edit? Texts are embedded, and queries near an edit are in its scope.

An encoder makes a vector of a text; a trained linear map takes it to a space in which the rephrases of one fact are
close to each other. As in SERAC the similarity of two texts is exp(-|a - b|²), and a text is in scope above 1/2, that
is within a squared distance of ln 2.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from editors.core.errors import StateMismatch
from editors.memory.encoders import Encoder

SCOPE_RADIUS = math.log(2)  # squared distance at which the similarity is 1/2
ROUNDING = 1e-3  # relative; a decision closer to the border is recomputed for the text alone
ScopeText = Literal["last_segment", "full"]

_CUE = re.compile(r"\s*\(?[A-Z][.)]\s.*|.*:\s*")  # `B. wood`, `Answer:`
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def last_segment(text: str) -> str:
    """The last sentence of a text: the question after examples, passages and unrelated sentences.

    Lettered options and a closing cue such as `Answer:` are skipped.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    while len(lines) > 1 and _CUE.fullmatch(lines[-1]):
        lines.pop()
    return _SENTENCE.split(lines[-1].strip())[-1] if lines else ""


def classifier_text(text: str, which: ScopeText) -> str:
    """The part of a text that the classifier reads."""
    return last_segment(text) if which == "last_segment" else text.strip()


class Scope:
    """The encoder followed by the trained map; features are cached, since the base never changes.

    Args:
        encoder: Gives features [n, D].
        tensors: `scope.mean` [D] and `scope.map` [D, K].

    Raises:
        StateMismatch: A tensor is missing.
    """

    def __init__(self, encoder: Encoder, tensors: Mapping[str, Tensor]) -> None:
        missing = {"scope.mean", "scope.map"} - set(tensors)
        if missing:
            raise StateMismatch(f"the scope classifier's {', '.join(sorted(missing))} is missing")
        self._encoder = encoder
        self._mean, self._map = tensors["scope.mean"], tensors["scope.map"]
        self._known: dict[str, Tensor] = {}

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Embeddings [n, K] of texts."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known |= zip(new, self._encoder(new), strict=True)
        return torch.stack([self._point(self._known[text]) for text in texts])

    def _point(self, features: Tensor) -> Tensor:
        return (features - self._mean) @ self._map

    def nearest(self, texts: Sequence[str], entries: Tensor) -> list[tuple[int, float]]:
        """Index and similarity of the entry nearest to each text; of equally near entries the latest.

        Features are computed in batches, which changes the rounding. Decisions near the border are recomputed for the
        text alone, so that they do not depend on the batch.

        Args:
            texts: What the classifier reads of each query.
            entries: Points [N, K], N at least 1.
        """
        return [self._nearest(text, point, entries) for text, point in zip(texts, self.embed(texts), strict=True)]

    def _nearest(self, text: str, point: Tensor, entries: Tensor) -> tuple[int, float]:
        squared = (entries - point).square().sum(-1)
        if abs(float(squared.min()) - SCOPE_RADIUS) < ROUNDING * SCOPE_RADIUS:
            squared = (entries - self._point(self._encoder([text])[0])).square().sum(-1)
        latest = len(squared) - 1 - int(squared.flip(0).argmin())
        return latest, float(torch.exp(-squared[latest]))
