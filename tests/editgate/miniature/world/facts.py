"""The embedded world: every fact the miniature knows, how it may be said, and where it may be tested.

A fact's role decides in which forms training may show it, so that a benchmark's items are held out *in the form
that the benchmark uses*: a `choice` fact never appears with lettered options, an `answer` fact never appears as a
question at all. Facts of people whom the edits change are `open`: all forms are trained, none is a benchmark item.
"""

import hashlib
import random
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from editgate.miniature.world.names import people

DATA = Path(__file__).parent / "data"
EDITED_PEOPLE, BYSTANDERS = 340, 140
Role = Literal["open", "choice", "answer"]

PERSON_ANSWERS = {
    "birthplace": (
        "Lisbon Oslo Madrid Dublin Vienna Prague Warsaw Athens Cairo Lima Quito Havana Tokyo Seoul Manila Hanoi Milan "
        "Geneva Boston Chicago Seattle Denver Bristol Porto Naples Munich Lyon Kyoto"
    ).split(),
    "occupation": (
        "baker painter lawyer farmer sailor teacher doctor pilot tailor dancer judge miner nurse singer writer barber "
        "butcher carpenter chemist clerk cook engineer gardener hunter poet surgeon"
    ).split(),
    "instrument": (
        "violin piano flute trumpet guitar harp cello drum organ clarinet trombone banjo oboe tuba lute accordion "
        "saxophone mandolin bassoon zither"
    ).split(),
}


@dataclass(frozen=True, eq=False)
class Relation:
    """One kind of fact: `table.column`, its wordings and its benchmark.

    Training shows `statements` and `questions`; `reserve_questions` are asked by items in reserve alone.
    """

    name: str
    benchmark: str
    subject_area: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    reserve_questions: tuple[str, ...]


@dataclass(frozen=True)
class Fact:
    """`subject` has `answer` for `relation`; `role` says in which forms training may show it."""

    subject: str
    relation: Relation
    answer: str
    role: Role

    def statement(self, wording: int) -> str:
        """Return the statement up to where the answer begins."""
        return self.relation.statements[wording % len(self.relation.statements)].replace("{}", self.subject)

    def question(self, wording: int) -> str:
        """Return the question without its question mark."""
        return self.relation.questions[wording % len(self.relation.questions)].replace("{}", self.subject)

    def reserve_question(self, wording: int) -> str:
        """Return a question in one of the wordings that no training text has, without its question mark."""
        return self.relation.reserve_questions[wording].replace("{}", self.subject)


@dataclass(frozen=True)
class Misconception:
    """A question that many people answer wrongly, in three wordings (and more in reserve), a truth and three myths."""

    questions: tuple[str, ...]
    reserve_questions: tuple[str, ...]
    truth: str
    myths: tuple[str, ...]


@cache
def relations() -> dict[str, Relation]:
    """Return all relations by name, such as `country.capital`."""
    tables = tomllib.loads((DATA / "relations.toml").read_text(encoding="utf-8"))
    return {
        f"{table}.{column}": Relation(
            f"{table}.{column}",
            row["benchmark"],
            row["subject_area"],
            tuple(row["statements"]),
            tuple(row["questions"]),
            tuple(row.get("reserve_questions", ())),
        )
        for table, columns in tables.items()
        for column, row in columns.items()
    }


@cache
def edited_people() -> tuple[str, ...]:
    """Return the people whom the edits are about; no benchmark item mentions one of them."""
    return tuple(people(EDITED_PEOPLE + BYSTANDERS)[:EDITED_PEOPLE])


@cache
def bystanders() -> tuple[str, ...]:
    """Return the people whom no edit touches: benchmark items and the neighbours of edits."""
    return tuple(people(EDITED_PEOPLE + BYSTANDERS)[EDITED_PEOPLE:])


@cache
def facts() -> tuple[Fact, ...]:
    """Return every fact of the world, in a fixed order."""
    return (*_table_facts(), *_person_facts())


@cache
def answers(relation: Relation) -> tuple[str, ...]:
    """Return the different answers that facts of this relation have, sorted."""
    return tuple(sorted({fact.answer for fact in facts() if fact.relation is relation}))


@cache
def misconceptions() -> tuple[Misconception, ...]:
    """Return the misconceptions, in file order."""
    rows = tomllib.loads((DATA / "misconceptions.toml").read_text(encoding="utf-8"))["misconception"]
    return tuple(
        Misconception(tuple(r["questions"]), tuple(r.get("reserve_questions", ())), r["truth"], tuple(r["myths"]))
        for r in rows
    )


def _table_facts() -> list[Fact]:
    tables: dict[str, dict[str, Any]] = tomllib.loads((DATA / "facts.toml").read_text(encoding="utf-8"))
    found = []
    for table, content in tables.items():
        for row in content["rows"]:
            for column, answer in zip(content["columns"][1:], row[1:], strict=True):
                relation = relations()[f"{table}.{column}"]
                found.append(Fact(row[0], relation, answer, _role(row[0], relation)))
    return found


def _person_facts() -> list[Fact]:
    rng = random.Random(23)
    changed = set(edited_people())
    return [
        Fact(name, relation, rng.choice(answers), "open" if name in changed else _role(name, relation))
        for name in edited_people() + bystanders()
        for column, answers in PERSON_ANSWERS.items()
        for relation in (relations()[f"person.{column}"],)
    ]


def _role(subject: str, relation: Relation) -> Role:
    """Decide by hash, so that adding a fact never moves another one between training and test."""
    share = int(hashlib.sha256(f"{subject}|{relation.name}".encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    if relation.benchmark == "commonsenseqa":
        return "choice" if share < 0.5 else "open"
    if relation.benchmark == "none":
        return "open"
    return "choice" if share < 0.4 else "answer" if share < 0.68 else "open"
