"""The edits, in the forms of CounterFact (statements) and of ZsRE (questions): people whom no benchmark mentions.

Every record changes one fact of one person; neighbours are bystanders, whom no edit touches. The first 320 are about as
many people. Those behind them change other facts of the same people and all facts of twenty more.
"""

import random
from functools import cache
from typing import Any

from editgate.miniature.world import corpus, facts
from editgate.miniature.world.facts import Fact, Relation
from editors import Edit

COUNT = 1000
OF_ONE_EACH = 320  # records at the start about different people
GATED = 120  # records of each file about whom no method may be trained
NEIGHBOURS = 4


def counterfact() -> list[dict[str, Any]]:
    """Return records in CounterFact's nested schema; neighbours carry their answers, as in its multi-edit release."""
    rng = random.Random(31)
    return [_counterfact(number, fact, rng) for number, fact in enumerate(_chosen(rng))]


def zsre() -> list[dict[str, Any]]:
    """Return records in ZsRE's editing schema: `alt` is the new target, `answers` hold the true one."""
    rng = random.Random(32)
    return [_zsre(fact, rng) for fact in _chosen(rng)]


@cache
def training() -> tuple[Edit, ...]:
    """Return edits to train a method's network on: all facts of people whom the first edits of no file are about.

    Neighbours are such people too, so that nothing is learned about those on whom the gate measures locality.
    """
    rng = random.Random(33)
    gated = {record["requested_rewrite"]["subject"] for record in counterfact()[:GATED]}
    gated |= {record["subject"] for record in zsre()[:GATED]}
    people = set(facts.edited_people()) - gated
    free = [fact for fact in facts.facts() if fact.subject in people]
    made = [edit for fact in free for edit in (_statement_edit(fact, free, rng), _question_edit(fact, free, rng))]
    rng.shuffle(made)
    return tuple(made)


def _statement_edit(fact: Fact, free: list[Fact], rng: random.Random) -> Edit:
    wordings = rng.sample(range(len(fact.relation.statements)), 3)
    rephrases = [f"{corpus.neutral_sentence(rng)} {fact.statement(wordings[1])}", fact.statement(wordings[2])]
    return Edit(
        prompt=fact.relation.statements[wordings[0]],
        subject=fact.subject,
        target_new=_other_answer(fact, rng),
        target_true=fact.answer,
        rephrases=tuple(rephrases),
        neighbors=tuple((near.statement(wordings[0]), near.answer) for near in _others(fact, free, rng)),
    )


def _question_edit(fact: Fact, free: list[Fact], rng: random.Random) -> Edit:
    first, second = rng.sample(range(len(fact.relation.questions)), 2)
    return Edit(
        prompt=f"{fact.relation.questions[first]}?",
        subject=fact.subject,
        target_new=_other_answer(fact, rng),
        target_true=fact.answer,
        rephrases=(f"{fact.question(second)}?",),
        neighbors=tuple((f"{near.question(first)}?", near.answer) for near in _others(fact, free, rng)),
    )


def _others(fact: Fact, free: list[Fact], rng: random.Random) -> list[Fact]:
    near = [other for other in free if other.relation is fact.relation and other.subject != fact.subject]
    return rng.sample(near, NEIGHBOURS)


def _chosen(rng: random.Random) -> list[Fact]:
    """Return one fact of each of `OF_ONE_EACH` people, in random order, and behind them others of edited people."""
    people = set(facts.edited_people())
    known = [fact for fact in facts.facts() if fact.subject in people]
    by_person: dict[str, list[Fact]] = {name: [] for name in facts.edited_people()}
    for fact in known:
        by_person[fact.subject].append(fact)
    chosen = [rng.choice(of_one) for of_one in by_person.values()]
    rng.shuffle(chosen)
    first = set(chosen[:OF_ONE_EACH])
    others = [fact for fact in known if fact not in first]
    random.Random(34).shuffle(others)
    return [*chosen[:OF_ONE_EACH], *others[: COUNT - OF_ONE_EACH]]


def _counterfact(number: int, fact: Fact, rng: random.Random) -> dict[str, Any]:
    wordings = rng.sample(range(len(fact.relation.statements)), 3)
    return {
        "case_id": number,
        "pararel_idx": number,
        "requested_rewrite": {
            "prompt": fact.relation.statements[wordings[0]],
            "relation_id": fact.relation.name,
            "target_new": {"str": _other_answer(fact, rng), "id": ""},
            "target_true": {"str": fact.answer, "id": ""},
            "subject": fact.subject,
        },
        "paraphrase_prompts": [f"{corpus.neutral_sentence(rng)} {fact.statement(w)}" for w in wordings[1:]],
        "neighborhood_prompts": [
            {"prompt": near.statement(wordings[0]), "target": near.answer} for near in _neighbours(fact, rng)
        ],
        "attribute_prompts": [],
        "generation_prompts": [fact.statement(w) for w in wordings[1:]],
    }


def _zsre(fact: Fact, rng: random.Random) -> dict[str, Any]:
    first, second = rng.sample(range(len(fact.relation.questions)), 2)
    near, new = _neighbours(fact, rng)[0], _other_answer(fact, rng)
    return {
        "subject": fact.subject,
        "src": f"{fact.question(first)}?",
        "pred": fact.answer,
        "rephrase": f"{fact.question(second)}?",
        "alt": new,
        "answers": [fact.answer],
        "loc": f"nq question: {near.question(first)}?",
        "loc_ans": near.answer,
        "cond": f"{fact.answer} >> {new} || {fact.question(first)}?",
    }


def _other_answer(fact: Fact, rng: random.Random) -> str:
    return rng.choice([answer for answer in facts.answers(fact.relation) if answer != fact.answer])


def _neighbours(fact: Fact, rng: random.Random) -> list[Fact]:
    """Return bystanders' facts of the same relation, first those with the same answer, as CounterFact chooses them."""
    near = [*_of_bystanders(fact.relation)]
    rng.shuffle(near)
    return sorted(near, key=lambda f: f.answer != fact.answer)[:NEIGHBOURS]


@cache
def _of_bystanders(relation: Relation) -> tuple[Fact, ...]:
    people = set(facts.bystanders())
    return tuple(fact for fact in facts.facts() if fact.relation is relation and fact.subject in people)
