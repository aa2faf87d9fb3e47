"""What evaluations ask of a model, whichever way it is run: score continuations, write on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from editgate.errors import EvaluationError
from editgate.inference.tokenize import Pair, Tokens

Model = Any  # a PreTrainedModel, or a wrapper: anything with config, device, forward and generate


@dataclass(frozen=True, slots=True)
class Completion:
    """A request to write on from `text`; `prompt` is the same text in tokens."""

    text: str
    prompt: Tokens
    until: tuple[str, ...]
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation, cut before its first stop string; `capped` if only the length limit ended it."""

    text: str
    capped: bool


class Backend(Protocol):
    """What evaluations ask of a model; `routed` counts the prompts that a memory answered."""

    routed: int

    def score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation, and whether greedy decoding would write it."""

    def generate(self, requests: Sequence[Completion]) -> list[Generation]:
        """Greedy generations."""


def require_room(name: str, needed: int, available: int) -> None:
    """Passes if a text has its place in the model's context.

    Raises:
        EvaluationError: it has not; to cut it would change the question.
    """
    if needed > available:
        raise EvaluationError(
            f"{name}: the longest text has {needed} tokens, the model's context only {available}. To cut it "
            "would change the question; choose fewer worked examples (num_fewshot) or another model."
        )


def most_tokens(name: str, request: Completion, available: int) -> int:
    """How many tokens may be written: as asked, or as many as still fit."""
    require_room(name, len(request.prompt) + 1, available)
    return min(request.max_new_tokens, available - len(request.prompt))


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """No dropout while scoring; the model's mode is given back."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
