"""The items of a benchmark as one model answered them, and how two models' items are paired."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from pydantic import TypeAdapter

from editgate.errors import ItemsMismatch, NoItemsScored, NonFiniteModel

TEXT_LIMIT = 200


def shorten(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return one line of at most `limit` characters; a shortened text ends in an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def shorten_apart(texts: Sequence[str], limit: int = TEXT_LIMIT) -> list[str]:
    """Shorten each text so that those that differ look different: what they begin with in common gives way."""
    lines = [" ".join(text.split()) for text in texts]
    short = [shorten(line, limit) for line in lines]
    for i, line in enumerate(lines):
        alike = [other for other in lines if other != line and shorten(other, limit) == shorten(line, limit)]
        if alike:
            common = max(_in_common(line, other) for other in alike)
            start = max(line.rfind(" ", 0, common) + 1, common - limit // 2)
            short[i] = shorten(f"…{line[start:]}", limit)
    return short


def _in_common(one: str, other: str) -> int:
    """Return how many characters two texts begin with in common."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


@dataclass(frozen=True, slots=True)
class Item:
    """One question, as one model answered it.

    Attributes:
        task: lm-eval's own (leaf) task, such as "mmlu_anatomy".
        doc_hash: lm-eval's hash of the document.
        prompt_hash: lm-eval's hash of the full prompt, few-shot examples included.
        score: the benchmark's metric on this item; 0 or 1 for accuracy and exact match.
        answer: the text or letter of the chosen option, or the generation after the task's filter.
        expected: what would have been right.
        question: enough of the question for a person to recognize it.
        label: the class that was answered ("A", "yes", the option's position); empty for generations.
    """

    task: str
    doc_hash: str
    prompt_hash: str
    score: float
    answer: str
    expected: str
    question: str
    label: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same question: the task, the document, and the prompt it was shown in."""
        return self.task, self.doc_hash, self.prompt_hash


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All items of one benchmark for one model.

    Attributes:
        benchmark: the name in the benchmark table, such as "mmlu".
        metric: lm-eval's metric and filter, such as "exact_match,strict-match".
        chance: the expected score of guessing, between 0 and 1.
        items: the outcomes, in lm-eval's order.
        kind: "choice" where the model picks an option, "generated" where it writes, "continuation" where it is asked
            whether it would write the one right text, "probe" where a score is in nats a token, higher if better.
        parse_failures: generations in which the task's filter found no answer.
        empty: generations without any text.
        routed: prompts that the editor's memory answered instead of the base (wrappers only).
    """

    benchmark: str
    metric: str
    chance: float
    items: tuple[Item, ...]
    kind: Literal["choice", "generated", "continuation", "probe"] = "choice"
    parse_failures: int = 0
    empty: int = 0
    routed: int = 0

    @property
    def n(self) -> int:
        """The number of items."""
        return len(self.items)

    @property
    def score(self) -> float:
        """The mean over items.

        Raises:
            NoItemsScored: without items there is no score.
        """
        if not self.items:
            raise NoItemsScored(f"{self.benchmark}: no item was scored, so there is nothing to judge.")
        return math.fsum(item.score for item in self.items) / self.n

    @property
    def label_distribution(self) -> dict[str, float]:
        """Share of each answered class, largest first; the answer's text stands in for a missing label."""
        counts = Counter(item.label or item.answer for item in self.items)
        return {label: counts[label] / self.n for label in sorted(counts, key=lambda x: (-counts[x], x))}

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers; floats survive exactly."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Evaluation:
        """Return what `to_json` was called on."""
        return _EVALUATION.validate_python(data)


_EVALUATION = TypeAdapter(Evaluation)


def pair(baseline: Evaluation, edited: Evaluation) -> list[tuple[Item, Item]]:
    """Pair the items of two evaluations by (task, doc_hash, prompt_hash), in the baseline's order.

    A document that occurs twice is paired occurrence by occurrence.

    Raises:
        NoItemsScored: one side is empty.
        ItemsMismatch: the sets of questions or prompts differ.
        NonFiniteModel: a score is NaN or infinite.
    """
    for side, evaluation in (("baseline", baseline), ("edited model", edited)):
        _check_scores(side, evaluation)
    waiting: dict[tuple[str, str, str], list[Item]] = defaultdict(list)
    for item in reversed(edited.items):
        waiting[item.key].append(item)
    pairs = [(item, waiting[item.key].pop()) for item in baseline.items if waiting.get(item.key)]
    if not len(pairs) == baseline.n == edited.n:
        raise ItemsMismatch(_mismatch(baseline, edited, len(pairs)))
    return pairs


def joined(parts: Sequence[Evaluation]) -> Evaluation:
    """Return what one model was asked in several blocks as one evaluation; chance is the mean over all items."""
    n = sum(part.n for part in parts)
    return replace(
        parts[0],
        chance=math.fsum(part.chance * part.n for part in parts) / n,
        items=tuple(item for part in parts for item in part.items),
        parse_failures=sum(part.parse_failures for part in parts),
        empty=sum(part.empty for part in parts),
        routed=sum(part.routed for part in parts),
    )


def got_worse(before: Item, after: Item) -> bool:
    """Return whether an item flipped for the worse: another answer, and a lower score.

    A score that is a probability moves a little with every rounding; the same answer as before is no flip.
    """
    return after.score < before.score and after.answer != before.answer


def _check_scores(side: str, evaluation: Evaluation) -> None:
    if not evaluation.items:
        raise NoItemsScored(f"{evaluation.benchmark}: no item was scored for the {side}; nothing to judge.")
    broken = [item for item in evaluation.items if not math.isfinite(item.score)]
    if broken:
        raise NonFiniteModel(
            f"{evaluation.benchmark}: {evaluation.metric} is {broken[0].score} on {len(broken)} of "
            f"{evaluation.n} items for the {side}, first on {shorten(broken[0].question, 80)!r}. Not judged."
        )


def _mismatch(baseline: Evaluation, edited: Evaluation, joined: int) -> str:
    ours, theirs = Counter(i.key for i in baseline.items), Counter(i.key for i in edited.items)
    alone = [(i, "baseline") for i in baseline.items if i.key in ours - theirs]
    alone += [(i, "edited model") for i in edited.items if i.key in theirs - ours]
    item, side = alone[0]
    documents = {i.key[:2] for i in (edited if side == "baseline" else baseline).items}
    why = "in another prompt" if item.key[:2] in documents else "not at all"
    return (
        f"{baseline.benchmark}: baseline has {baseline.n} items, the edited model {edited.n}, "
        f"and only {joined} are the same question in the same prompt. First without a partner: "
        f"{shorten(item.question, 80)!r} (task {item.task}), asked of the {side}, of the other {why}. "
        "Score both with the same --limit, few-shot seed and documents."
    )
