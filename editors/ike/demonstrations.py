"""IKE's demonstrations: examples in the context that show which questions an edit changes, and which it does not.

There are three kinds: `copy` has another edit's own prompt, `update` a rephrase of it, both with that edit's new
answer; `retain` has a neighboring prompt with its unchanged answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from editors.core.edit import Edit
from editors.memory.scope import last_segment
from editors.memory.templates import fill

Shown = Literal["copy", "update", "retain"]
Rank = Callable[[str, Sequence[str]], Sequence[float]]


@dataclass(frozen=True)
class Demonstration:
    """One demonstration.

    Attributes:
        kind: Its kind.
        edit: The edit that it is about.
        query: Its prompt.
        answer: Its answer.
    """

    kind: Shown
    edit: Edit
    query: str
    answer: str

    def text(self, template: str) -> str:
        """The template with {fact}, {target}, {subject}, {query} and {answer} filled in."""
        return fill(template, words_of(self.edit) | {"query": self.query, "answer": self.answer})


def words_of(edit: Edit) -> dict[str, str]:
    """Values of a template's fields for an edit."""
    return {"fact": edit.text, "target": edit.target_new, "subject": edit.subject or ""}


def kinds(count: int) -> list[Shown]:
    """Half retain, an eighth copy (rounded), the rest update: of 32 there are 16, 4 and 12."""
    retain, copy = count // 2, (count + 4) // 8
    shares: dict[Shown, int] = {"copy": copy, "update": count - retain - copy, "retain": retain}
    return [kind for kind, share in shares.items() for _ in range(share)]


def self_copy(edit: Edit) -> Demonstration:
    """The new fact as its own demonstration."""
    return Demonstration("copy", edit, edit.text, edit.target_new)


def choose(edit: Edit, pool: Sequence[Edit], count: int, rank: Rank, seed: int) -> list[Demonstration]:
    """Demonstrations for an edit, the nearest last, fewer than `count` if the pool has none of a kind left.

    The kinds are shuffled and assigned to the nearest edits of the pool that have data for them. All draws depend on
    the seed and the edit's text only; the pool's order decides between edits equally near.

    Args:
        edit: The new fact; edits about its own subject are left out.
        pool: Other edits, with rephrases and neighbors.
        count: How many are wanted.
        rank: Similarity of a text to each of several texts.
        seed: Of the draws.
    """
    draw = random.Random(f"{seed} {edit.text} {edit.target_new}")
    wanted = kinds(count)
    draw.shuffle(wanted)
    others = [other for other in pool if not other.shares_subject(edit)] if wanted else []
    similarities = rank(edit.text, [other.text for other in others])
    nearest = sorted(range(len(others)), key=lambda index: -similarities[index])
    chosen: list[Demonstration] = []
    for kind in wanted:
        index = next((index for index in nearest if _can_show(others[index], kind)), None)
        if index is not None:
            nearest.remove(index)
            chosen.append(_show(others[index], kind, draw))
    chosen.reverse()
    return chosen


def _can_show(edit: Edit, kind: Shown) -> bool:
    return kind == "copy" or bool(edit.rephrases if kind == "update" else edit.neighbors)


def _show(edit: Edit, kind: Shown, draw: random.Random) -> Demonstration:
    if kind == "copy":
        return self_copy(edit)
    if kind == "update":  # without the unrelated sentences that CounterFact puts before it, as the authors clean them
        return Demonstration(kind, edit, last_segment(draw.choice(edit.rephrases)), edit.target_new)
    query, answer = draw.choice(edit.neighbors)
    return Demonstration(kind, edit, query, answer)
