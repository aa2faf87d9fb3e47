"""Efficacy, paraphrase and locality of edits, by free generation.

An answer is written greedily and ends where the model ends it: at a full stop, a line break, or the end of
the text. It counts if it equals the target, apart from capitals, punctuation and white space. The usual
measure in the literature gives the model the right answer token by token and asks whether it agrees
("teacher forcing"), and never asks whether it would stop; that number is reported as secondary.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from editgate.errors import EvaluationError
from editgate.inference.backend import Backend, Completion, Model
from editgate.inference.tokenize import PairTokenizer, Tokenizer
from editgate.measure.items import shorten
from editors import Edit

Answers = dict[str, str]  # prompt: answer
Kind = Literal["efficacy", "paraphrase", "locality"]
KINDS: tuple[Kind, ...] = ("efficacy", "paraphrase", "locality")

STOPS = (".", "\n")
BEYOND_TARGET = 8  # tokens that an answer may be longer than the longest target: enough to see that it goes on
NEIGHBOR_TOKENS = 16  # fixed, so that answers before and after the edit are cut at the same length
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class EditQuality:
    """How well one edit succeeded in one model.

    Attributes:
        target_new: the requested answer.
        answer: what the model writes after the edited prompt.
        rephrased: (prompt, answer) for each rephrasing of it.
        neighbors: (prompt, the unedited model's answer, the edited model's) for each neighboring fact.
        teacher_forced: secondary: whether greedy decoding, given each token of the target, gives the next.
    """

    target_new: str
    answer: str
    rephrased: tuple[tuple[str, str], ...] = ()
    neighbors: tuple[tuple[str, str, str], ...] = ()
    teacher_forced: bool = False

    @property
    def efficacy(self) -> float:
        """1 if the edited prompt gives the target, else 0."""
        return float(same(self.answer, self.target_new))

    @property
    def paraphrase(self) -> float | None:
        """Share of rephrasings that give the target; None if the edit has none."""
        return _share([same(answer, self.target_new) for _, answer in self.rephrased])

    @property
    def locality(self) -> float | None:
        """Share of neighboring prompts answered as the unedited model does; None if there are none."""
        return _share([same(now, before) for _, before, now in self.neighbors])

    def describe(self, kind: Kind) -> str:
        """Return what the model wrote, for a person who reads a failure."""
        if kind == "efficacy":
            return f"wrote {shorten(self.answer, 60)!r}"
        if kind == "paraphrase":
            wrong = [pair for pair in self.rephrased if not same(pair[1], self.target_new)]
            return "; ".join(f"{shorten(p, 60)!r} gave {shorten(a, 40)!r}" for p, a in wrong[:2])
        moved = [triple for triple in self.neighbors if not same(*triple[1:])]
        return "; ".join(f"{shorten(p, 60)!r} gave {shorten(b, 40)!r}, now {shorten(n, 40)!r}" for p, b, n in moved[:2])

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> EditQuality:
        """Return what `to_json` was called on; what else the record holds is left alone."""
        return _EDIT_QUALITY.validate_python(data)


_EDIT_QUALITY = TypeAdapter(EditQuality)
FORM = TypeAdapter(list[EditQuality]).validate_python  # of what is stored


def share(kind: Kind, rows: Sequence[EditQuality]) -> float | None:
    """Return the mean over the edits that have prompts of this kind; None if no edit has."""
    known = [value for value in (getattr(row, kind) for row in rows) if value is not None]
    return sum(known) / len(known) if known else None


def measure(
    model: Model,
    tokenizer: Tokenizer,
    edits: Sequence[Edit],
    baseline_answers: Mapping[str, str] | None = None,
) -> list[EditQuality]:
    """Generate the model's answers about each edit; all prompts go in one batch.

    Args:
        model: the edited model, wrapper or not.
        tokenizer: its tokenizer.
        edits: the edits to measure.
        baseline_answers: of the unedited model, from `answers`; without them locality is not measured.

    Raises:
        EvaluationError: a neighbor's prompt has no baseline answer, or a prompt exceeds the model's context.
        NonFiniteModel: logits are NaN or infinite.
    """
    if not edits:
        return []
    prompts = [(text, edit.target_new) for edit in edits for text in (edit.text, *edit.rephrases)]
    generated = _generate(model, tokenizer, prompts, _target_length(tokenizer, edits) + BEYOND_TARGET)
    near = {} if baseline_answers is None else answers(model, tokenizer, edits)
    if missing := [prompt for prompt in near if prompt not in (baseline_answers or {})]:
        raise EvaluationError(
            f"locality: the unedited model was never asked {missing[0]!r} (nor {len(missing) - 1} more "
            "prompts); call edit_quality.answers on it with these edits."
        )
    forced = teacher_forced(model, tokenizer, edits)
    return [
        EditQuality(
            target_new=edit.target_new,
            answer=generated[edit.text, edit.target_new],
            rephrased=tuple((prompt, generated[prompt, edit.target_new]) for prompt in edit.rephrases),
            neighbors=tuple((p, (baseline_answers or {})[p], near[p]) for p, _ in edit.neighbors if p in near),
            teacher_forced=agreed,
        )
        for edit, agreed in zip(edits, forced, strict=True)
    ]


def answers(model: Model, tokenizer: Tokenizer, edits: Sequence[Edit]) -> Answers:
    """Return what the model writes after each neighboring prompt of these edits."""
    prompts = [(prompt, "") for edit in edits for prompt, _ in edit.neighbors]
    return {prompt: answer for (prompt, _), answer in _generate(model, tokenizer, prompts, NEIGHBOR_TOKENS).items()}


def teacher_forced(model: Model, tokenizer: Tokenizer, edits: Sequence[Edit]) -> list[bool]:
    """Return whether each target token is the likeliest after the prompt and those before it; a secondary measure."""
    pairs = PairTokenizer(tokenizer).pairs([(edit.text.rstrip(), " " + edit.target_new) for edit in edits])
    return [agreed for _, agreed in _backend(model, tokenizer).score(pairs)]


def _backend(model: Model, tokenizer: Tokenizer) -> Backend:
    from editgate.inference.select_backend import backend  # noqa: PLC0415 - seconds to import; a case needs KINDS alone

    return backend(model, tokenizer, "edit quality")


def same(one: str, other: str) -> bool:
    """Return whether two answers are equal apart from capitals, punctuation and white space."""
    return _normal(one) == _normal(other)


def _normal(text: str) -> str:
    return " ".join(text.casefold().translate(NO_PUNCTUATION).split()) or text.strip()


def _share(outcomes: Sequence[bool]) -> float | None:
    return sum(outcomes) / len(outcomes) if outcomes else None


def _target_length(tokenizer: Tokenizer, edits: Sequence[Edit]) -> int:
    texts = [" " + edit.target_new for edit in edits]
    return max((len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]), default=0)


def _generate(
    model: Model,
    tokenizer: Tokenizer,
    prompts: Sequence[tuple[str, str]],
    length: int,
) -> dict[tuple[str, str], str]:
    """Return greedy answers to (prompt, target), cut at the first full stop or line break.

    A target with a full stop in it ("St. Louis") would be cut in the middle: there only a line break stops
    the writing, and what follows the target's own end is dropped if it begins with a stop.
    """
    prompts = list(dict.fromkeys(prompts))
    texts = [prompt.rstrip() for prompt, _ in prompts]  # a space would be half of the answer's first token
    requests = [
        Completion(text, tokens, tuple(stop for stop in STOPS if stop not in target), length)
        for text, tokens, (_, target) in zip(texts, PairTokenizer(tokenizer).prompts(texts), prompts, strict=True)
    ]
    generations = _backend(model, tokenizer).generate(requests) if requests else []
    return {pair: _ended(answer.text.strip(), pair[1]) for pair, answer in zip(prompts, generations, strict=True)}


def _ended(answer: str, target: str) -> str:
    begin, rest = answer[: len(target)], answer[len(target) :]
    return begin if rest.startswith(STOPS) and same(begin, target) else answer
