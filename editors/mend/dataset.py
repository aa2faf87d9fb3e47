"""Training data of MEND's network: each edit with rephrases of its fact, and with neighboring facts to preserve."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import Literal

from editors.core.edit import Edit
from editors.core.errors import MissingTraining
from editors.core.typing import PreTrainedTokenizerBase
from editors.models.tokens import Row, encode, target_ids

Kind = Literal["outer", "loc"]
Pair = tuple[str, str]
MAX_SAME_ANSWER = 4  # facts of other subjects with the same answer, added to an edit's own neighbors


@dataclass(frozen=True)
class Query:
    """A prompt and its answer, on which the edited model is evaluated.

    Attributes:
        row: Their ids; its labels are the positions that predict the answer, and for a neighbor what follows it.
        answer: The answer's ids.
    """

    row: Row
    answer: tuple[int, ...]


@dataclass(frozen=True)
class MendDataset:
    """Training edits as queries: for each edit its outer samples, and its neighbors with facts of the same answer."""

    edits: tuple[Edit, ...]
    outer: tuple[tuple[Query, ...], ...]
    loc: tuple[tuple[Query, ...], ...]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, edits: Sequence[Edit]) -> MendDataset:
        """Tokenize. Without rephrases an edit's own prompt is used; without neighbors, the next other subject's fact.

        Raises:
            MissingTraining: There are no edits, or an edit has no neighboring fact.
        """
        outer_queries, neighbors, by_answer = [], [], _by_answer(edits)
        for number, edit in enumerate(edits):
            texts = edit.rephrases or (edit.text,)
            outer_queries.append(tuple(query(tokenizer, text, edit.target_new, "outer") for text in texts))
            same_answer = _same_answer_facts(edits, number, by_answer[edit.target_true])
            pairs = [*_alternating(edit.neighbors, same_answer)] or _other(edits, number)
            neighbors.append(tuple(query(tokenizer, *pair, "loc") for pair in pairs))
        if not edits or not all(neighbors):
            raise MissingTraining(
                "mend trains its network on edits with neighbors, or about several subjects: none here"
            )
        return cls(tuple(edits), tuple(outer_queries), tuple(neighbors))


def _by_answer(edits: Sequence[Edit]) -> dict[str, list[int]]:
    """Indices of the edits by their fact's true answer, where it is known."""
    by_answer: dict[str, list[int]] = {"": []}
    for number, edit in enumerate(edits):
        if edit.target_true:
            by_answer.setdefault(edit.target_true, []).append(number)
    return by_answer


def _same_answer_facts(edits: Sequence[Edit], number: int, same: Sequence[int]) -> list[Pair]:
    """Facts of other subjects with the answer that the edit changes, which an update is most likely to change too."""
    after, before = [i for i in same if i > number], [i for i in same if i < number]
    order = (edits[index] for index in after + before)
    return [
        (o.text, o.target_true)
        for o in islice((o for o in order if not o.shares_subject(edits[number])), MAX_SAME_ANSWER)
    ]


def _alternating(left: Iterable[Pair], right: Iterable[Pair]) -> Iterator[Pair]:
    """Members of both in turn, then the rest of the longer."""
    return (pair for both in zip_longest(left, right) for pair in both if pair is not None)


def _other(edits: Sequence[Edit], number: int) -> list[Pair]:
    """The fact of the next edit about another subject, if there is one."""
    order = chain(edits[number + 1 :], edits[:number])
    others = (
        (other.text, other.target_true or other.target_new)
        for other in order
        if not other.shares_subject(edits[number])
    )
    first = next(others, None)
    return [] if first is None else [first]


def query(tokenizer: PreTrainedTokenizerBase, text: str, answer: str, kind: Kind) -> Query:
    """Tokenize a text and its answer, scored where the answer (for a neighbor: and its end) is predicted."""
    start, target = encode(tokenizer, text), target_ids(tokenizer, text, answer)
    labels = range(len(start) - 1, len(start) - 1 + len(target) + (kind == "loc"))
    ids = (*start, *target) if kind == "loc" else (*start, *target[:-1])
    return Query(Row(ids, 0, tuple(labels)), tuple(target))
