"""What evaluations ask of a model, whichever way it is run: score continuations, generate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from editgate.errors import EvaluationError
from editgate.inference.tokenize import Pair, Tokenizer, Tokens

if TYPE_CHECKING:
    from torch import nn

Model = Any  # a PreTrainedModel, or a wrapper: anything with config, device, forward and generate


@dataclass(frozen=True, slots=True)
class Completion:
    """A request to continue `text`; `prompt` is the same text in tokens.

    `draft` is what the answer may turn out to be, in tokens. Only speed depends on it: it is no part of the request.
    """

    text: str
    prompt: Tokens
    until: tuple[str, ...]
    max_new_tokens: int
    draft: Tokens = field(default=(), repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Generation:
    """A generated text, cut before its first stop string; `capped` if only the length limit ended it.

    `tokens` are all that was written, stop string included, where the backend knows them.
    """

    text: str
    capped: bool
    tokens: Tokens = field(default=(), repr=False, compare=False)


class Backend(Protocol):
    """A way to run one model; `routed` counts the prompts that an editor's memory answered."""

    routed: int

    def score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        """Return the log-likelihood of each continuation, and whether greedy decoding would write it."""

    def generate(self, requests: Sequence[Completion]) -> list[Generation]:
        """Return greedy generations."""


def backend_for(model: Model, tokenizer: Tokenizer, name: str) -> Backend:
    """Return what `select_backend.backend` chooses, which takes seconds to import: who reads the store needs none."""
    from editgate.inference.select_backend import backend  # noqa: PLC0415 - see above

    return backend(model, tokenizer, name)


def check_fits(name: str, needed: int, available: int) -> None:
    """Pass if a text of `needed` tokens fits into the model's context of `available` tokens.

    Raises:
        EvaluationError: it does not; to cut it would change the question.
    """
    if needed > available:
        raise EvaluationError(
            f"{name}: the longest text has {needed} tokens, the model's context only {available}. To cut it "
            "would change the question; choose fewer few-shot examples (num_fewshot) or another model."
        )


def generation_limit(name: str, request: Completion, available: int) -> int:
    """Return how many tokens may be generated: as many as requested, or as many as still fit.

    Raises:
        EvaluationError: not a single one fits.
    """
    check_fits(name, len(request.prompt) + 1, available)
    return min(request.max_new_tokens, available - len(request.prompt))


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Inside, no dropout; afterwards the model is in the mode that it was in."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
