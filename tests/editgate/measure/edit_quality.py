"""Efficacy, paraphrase and locality of edits, by free generation.

An answer is written greedily and counts if it begins with the target at the end of a word (`answers`): a real model
goes on writing where a miniature stops. Two other measures are reported beside it and decide nothing. *exact* asks
that the answer also stops there. *teacher-forced* is the usual one in the literature: it gives the model the right
answer token by token, and asks whether it agrees. Locality compares the beginning of an answer with that of the
unedited model's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

from editgate.errors import EvaluationError
from editgate.inference.backend import Completion, Model, backend_for
from editgate.inference.tokenize import PairTokenizer, Tokenizer
from editgate.measure.answers import begins_with, is_exactly, same_answer
from editgate.measure.items import shorten
from editors import Edit

Answers = dict[str, str]  # prompt: answer
Kind = Literal["efficacy", "paraphrase", "locality"]
KINDS: tuple[Kind, ...] = ("efficacy", "paraphrase", "locality")

BEYOND_TARGET = 8  # tokens that an answer may be longer than the longest target: spelled otherwise, or going on
NEIGHBOR_TOKENS = 16  # fixed, so that answers before and after the edit are cut at the same length


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a model about an edit.

    Attributes:
        prompt: what it continues.
        length: tokens of its answer, at most.
        expected: what it may write, the target or what it wrote before. Only speed depends on it.
    """

    prompt: str
    length: int
    expected: str = field(default="", compare=False)


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
        """1 if the answer to the edited prompt begins with the target, else 0."""
        return float(begins_with(self.answer, self.target_new))

    @property
    def exact(self) -> float:
        """1 if that answer is the target and stops there, else 0; secondary."""
        return float(is_exactly(self.answer, self.target_new))

    @property
    def paraphrase(self) -> float | None:
        """Share of rephrasings whose answer begins with the target; None if the edit has none."""
        return _mean([begins_with(answer, self.target_new) for _, answer in self.rephrased])

    @property
    def paraphrase_exact(self) -> float | None:
        """Share of rephrasings whose answer is the target and stops there; None if the edit has none; secondary."""
        return _mean([is_exactly(answer, self.target_new) for _, answer in self.rephrased])

    @property
    def locality(self) -> float | None:
        """Share of neighboring prompts whose answer begins as the unedited model's; None if there are none."""
        return _mean([same_answer(before, now) for _, before, now in self.neighbors])

    def describe(self, kind: Kind) -> str:
        """Return what the model wrote, for a person who reads a failure."""
        if kind == "efficacy":
            return f"wrote {shorten(self.answer, 60)!r}"
        if kind == "paraphrase":
            wrong = [pair for pair in self.rephrased if not begins_with(pair[1], self.target_new)]
            return "; ".join(f"{shorten(p, 60)!r} gave {shorten(a, 40)!r}" for p, a in wrong[:2])
        moved = [triple for triple in self.neighbors if not same_answer(*triple[1:])]
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
    return _mean([getattr(row, kind) for row in rows])


def exact_share(kind: Kind, rows: Sequence[EditQuality]) -> float | None:
    """Return the same with answers that also stop where the target ends; None for locality, which has no target."""
    name = {"efficacy": "exact", "paraphrase": "paraphrase_exact"}.get(kind)
    return None if name is None else _mean([getattr(row, name) for row in rows])


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
    known = baseline_answers or {}
    longest = max(map(len, _tokens(tokenizer, [" " + edit.target_new for edit in edits])))
    own = [
        Question(prompt, longest + BEYOND_TARGET, edit.target_new)
        for edit in edits
        for prompt in (edit.text, *edit.rephrases)
    ]
    beside = [] if baseline_answers is None else _about_neighbors(edits, known)
    written = _generate(model, tokenizer, [*own, *beside])
    generated = {question.prompt: written[question] for question in own}
    near = {question.prompt: written[question] for question in beside}
    if missing := [prompt for prompt in near if prompt not in known]:
        raise EvaluationError(
            f"locality: the unedited model was never asked {missing[0]!r} (nor {len(missing) - 1} more "
            "prompts); call edit_quality.answers on it with these edits."
        )
    forced = teacher_forced(model, tokenizer, edits)
    return [
        EditQuality(
            target_new=edit.target_new,
            answer=generated[edit.text],
            rephrased=tuple((prompt, generated[prompt]) for prompt in edit.rephrases),
            neighbors=tuple((p, known[p], near[p]) for p, _ in edit.neighbors if p in near),
            teacher_forced=agreed,
        )
        for edit, agreed in zip(edits, forced, strict=True)
    ]


def answers(model: Model, tokenizer: Tokenizer, edits: Sequence[Edit]) -> Answers:
    """Return what the model writes after each neighboring prompt of these edits."""
    written = _generate(model, tokenizer, _about_neighbors(edits, {}))
    return {question.prompt: answer for question, answer in written.items()}


def _about_neighbors(edits: Sequence[Edit], expected: Mapping[str, str]) -> list[Question]:
    prompts = [prompt for edit in edits for prompt, _ in edit.neighbors]
    return [Question(prompt, NEIGHBOR_TOKENS, expected.get(prompt, "")) for prompt in prompts]


def teacher_forced(model: Model, tokenizer: Tokenizer, edits: Sequence[Edit]) -> list[bool]:
    """Return whether each target token is the likeliest after the prompt and those before it; a secondary measure."""
    pairs = PairTokenizer(tokenizer).pairs([(edit.text.rstrip(), " " + edit.target_new) for edit in edits])
    return [agreed for _, agreed in backend_for(model, tokenizer, "edit quality").score(pairs)]


def right(kind: Kind, answer: str, wanted: str) -> bool:
    """Return whether an answer counts; `wanted` is the target, for locality what the unedited model wrote."""
    return same_answer(wanted, answer) if kind == "locality" else begins_with(answer, wanted)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    found: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return found


def _generate(model: Model, tokenizer: Tokenizer, questions: Sequence[Question]) -> dict[Question, str]:
    """Return greedy answers. Nothing but length and the model itself ends them.

    A full stop must not: it stands in "3.5", "U.S." and "St. Louis".
    """
    questions = list(dict.fromkeys(questions))
    if not questions:
        return {}
    texts = [question.prompt.rstrip() for question in questions]  # a space would be half of the answer's first token
    drafts = _tokens(tokenizer, [f" {question.expected}".rstrip() for question in questions])
    requests = [
        Completion(text, tokens, (), question.length, draft=tuple(draft))
        for question, text, tokens, draft in zip(
            questions, texts, PairTokenizer(tokenizer).prompts(texts), drafts, strict=True
        )
    ]
    generations = backend_for(model, tokenizer, "edit quality").generate(requests)
    return {question: answer.text.strip() for question, answer in zip(questions, generations, strict=True)}
