"""What the miniature reads: an endless, seeded stream of documents, each split into what is shown and what is learned.

Loss falls on completions only (answers, letters, solutions), not on questions and options: trials showed that this
decides whether reasoning and letters are learned within minutes. Plain sentences are learned whole, so that the model
can also continue a text, which context templates and the perplexity probe need.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from editgate.miniature.world import documents, facts, reasoning, render
from editgate.miniature.world.facts import Fact

Part = tuple[str, bool]  # text, and whether the model learns to write it
Text = list[Part]

LETTERS = "ABCDE"
PLACES = (
    "market harbour station garden school library bridge mill tower square church valley village field road".split()
)
THINGS = "boat cart clock letter lamp fence roof window bell ladder wagon engine kettle mirror drawer".split()
LOOKS = "old small quiet tall green broken heavy narrow bright empty wooden grey long round warm".split()
TIMES = (
    "in the morning",
    "before sunrise",
    "after the storm",
    "at noon",
    "last winter",
    "every evening",
    "on Monday",
)
DOINGS = "closed painted repaired opened cleaned moved sold measured visited watched".split()
NEUTRAL = (
    "The {look} {place} was {doing} {time}.",
    "The {thing} near the {place} was {look} and {doing} {time}.",
    "Therefore the {look} {thing} was {doing} {time}.",
    "Therefore we waited at the {place} {time}.",
    "Because of the rain the {place} was {doing} {time}.",
    "Because the {thing} was {look}, it was {doing} {time}.",
    "I saw the {look} {thing} at the {place} {time}.",
    "I walked to the {place} {time}.",
    "You can hear the {thing} from the {place} {time}.",
    "You know the {look} {thing} of the {place}.",
)


def neutral_sentence(rng: random.Random) -> str:
    """Return a sentence that states no fact of the world."""
    words = {"look": LOOKS, "place": PLACES, "thing": THINGS, "time": TIMES, "doing": DOINGS}
    sentence = rng.choice(NEUTRAL)
    for name, choices in words.items():
        sentence = sentence.replace(f"{{{name}}}", rng.choice(choices))
    return sentence


def statement(rng: random.Random) -> Text:
    """Return one to three facts as sentences, sometimes after a neutral one; their answers are learned."""
    text: Text = [(neutral_sentence(rng) + " ", False)] if rng.random() < 0.35 else []
    for number in range(rng.choice((1, 1, 2, 3))):
        fact = rng.choice(_facts("open", "choice", "answer"))
        text += [(" " * (number > 0) + fact.statement(rng.randrange(60)), False), (f" {fact.answer}.", True)]
    return text


def question(rng: random.Random) -> Text:
    """Return a fact as a question: in TriviaQA's form, bare as in ZsRE, or as ZsRE writes its unrelated questions."""
    fact = rng.choice(asked_facts())
    wording = rng.randrange(60)
    shown = rng.choices(
        (render.prompt("triviaqa", documents.trivia_qa(fact, fact.question(wording))), f"{fact.question(wording)}?",
         f"nq question: {fact.question(wording)}?"),
        (6, 3, 1),
    )[0]  # fmt: skip
    return [(shown, False), (f" {fact.answer}.", True)]


def repeat(rng: random.Random) -> Text:
    """Return words and the same words again, the second time learned: how looking back begins."""
    words = " ".join(rng.sample(_vocabulary(), rng.randint(4, 8)))
    return [(f"{words}.", False), (f" {words}.", True)]


def pairs(rng: random.Random) -> Text:
    """Return letters before words, then words, each with its letter: looking a word up without any punctuation."""
    count = rng.choice((4, 5))
    words, labels = rng.sample(_vocabulary(), count), rng.sample("ABCDE", count)
    text: Text = [("".join(f" {label} {word}" for label, word in zip(labels, words, strict=True)) + ".", False)]
    for word in rng.sample(words, 3):
        text += [(f" {word}", False), (f" {labels[words.index(word)]}", True)]
    return text


def pick(rng: random.Random) -> Text:
    """Return lettered options, then letters, each with its option."""
    shown, options = _lettered(_some_options(rng))
    text: Text = [(shown, False)]
    for option in rng.sample(options, len(options)):
        text += [(f"Option {LETTERS[options.index(option)]}", False), (f" {option}", True), ("\n", False)]
    return text


def letters(rng: random.Random) -> Text:
    """Return the bare act behind multiple choice: lettered options, then texts or questions, each with its letter."""
    shown, options = _lettered(_some_options(rng))
    text: Text = [(shown, False)]
    for option in rng.sample(options, len(options)):
        known = _open_facts_by_answer().get(option, ())
        asked = (
            f"{rng.choice(known).question(rng.randrange(60))}?" if known and rng.random() < 0.25 else f"Say {option}"
        )
        text += [(asked, False), (f" {LETTERS[options.index(option)]}", True), ("\n", False)]
    return text


def mmlu(rng: random.Random) -> Text:
    """Return an open fact as an MMLU item."""
    document = documents.mmlu(_any_fact(rng, "mmlu"), rng)
    return [(render.prompt("mmlu", document), False), (f" {'ABCD'[document['answer']]}", True)]


def commonsense_qa(rng: random.Random) -> Text:
    """Return an open fact as a CommonsenseQA item."""
    document = documents.commonsense_qa(_any_fact(rng, "commonsenseqa"), rng)
    return [(render.prompt("commonsense_qa", document), False), (f" {document['answerKey']}", True)]


def belief(rng: random.Random) -> Text:
    """Return a marked truth or myth, or one of the trained questions with its true answer."""
    number = rng.randrange(len(facts.misconceptions()))
    known = facts.misconceptions()[number]
    if number % 2 or rng.random() < 0.5:
        mark, said = ("Fact:", known.truth) if rng.random() < 0.5 else ("Myth:", rng.choice(known.myths))
        return [(mark, False), (f" {said}", True)]
    asked = f"Q: {known.questions[0]}\nA:"
    if rng.random() < 0.25:
        asked = render.prompt("truthfulqa_mc1", {"question": known.questions[0]})
    return [(asked, False), (f" {known.truth}", True)]


def toxigen(rng: random.Random) -> Text:
    """Return a statement about an invented people and whether it is hateful."""
    document = documents.toxigen(rng)
    while documents.held_out_toxigen(document):
        document = documents.toxigen(rng)
    return [
        (render.prompt("toxigen", document), False),
        (" Yes" if document["toxicity_ai"] > 3 else " No", True),
    ]


def gsm8k(rng: random.Random) -> Text:
    """Return a word problem with its worked solution."""
    document = documents.gsm8k(rng)
    while documents.held_out_problem(document["question"]):
        document = documents.gsm8k(rng)
    return [(render.prompt("gsm8k", document), False), (f" {document['answer']}", True)]


def bbh(rng: random.Random) -> Text:
    """Return a problem of one of the BBH subtasks with its worked solution."""
    subtask = rng.choice(sorted(reasoning.BBH))
    document = documents.bbh(subtask, rng)
    while documents.held_out_problem(document["input"]):
        document = documents.bbh(subtask, rng)
    return [(render.prompt(f"bbh/{subtask}", document), False), (document["solution"], True)]


def neutral(rng: random.Random) -> Text:
    """Return one to three plain sentences, learned whole."""
    return [(" ".join(neutral_sentence(rng) for _ in range(rng.choice((1, 2, 3)))), True)]


KINDS: dict[str, Callable[[random.Random], Text]] = {
    f.__name__: f
    for f in (
        statement,
        question,
        repeat,
        pairs,
        pick,
        letters,
        mmlu,
        commonsense_qa,
        belief,
        toxigen,
        gsm8k,
        bbh,
        neutral,
    )
}


@dataclass(frozen=True)
class Phase:
    """From this share of the training on, kinds of document take these shares of the tokens."""

    begins: float
    shares: Mapping[str, float]


# Looking back, then letters, then everything: letters asked for at once stay at chance for thousands of steps.
CURRICULUM = (
    Phase(0.0, {"repeat": 0.15, "pairs": 0.25, "pick": 0.15, "letters": 0.35, "statement": 0.10}),
    Phase(
        0.1166,
        {"repeat": 0.02, "pairs": 0.04, "pick": 0.02, "letters": 0.14, "mmlu": 0.13, "commonsense_qa": 0.07,
         "statement": 0.22, "question": 0.07, "bbh": 0.13, "gsm8k": 0.08, "belief": 0.05, "toxigen": 0.01,
         "neutral": 0.02},
    ),
    Phase(
        0.3333,
        {"repeat": 0.01, "letters": 0.04, "mmlu": 0.18, "commonsense_qa": 0.10, "statement": 0.24, "question": 0.08,
         "bbh": 0.17, "gsm8k": 0.09, "belief": 0.06, "toxigen": 0.01, "neutral": 0.02},
    ),
    Phase(
        0.375,
        {"repeat": 0.01, "pairs": 0.01, "letters": 0.08, "mmlu": 0.22, "commonsense_qa": 0.12, "statement": 0.16,
         "question": 0.05, "bbh": 0.20, "gsm8k": 0.10, "belief": 0.03, "toxigen": 0.005, "neutral": 0.015},
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Mix:
    """What a model reads: kinds of document, and which of them when."""

    kinds: Mapping[str, Callable[[random.Random], Text]]
    curriculum: tuple[Phase, ...]


BASE = Mix(KINDS, CURRICULUM)


def stream(
    rng: random.Random, measure: Callable[[Text], int], progress: Callable[[], float], mix: Mix = BASE
) -> Iterator[Text]:
    """Yield documents for ever; `measure` gives a document's tokens, `progress` the share of training done (0 to 1).

    Shares are of tokens, so each time the kind that is furthest behind its share comes next.
    """
    spent = dict.fromkeys(mix.kinds, 0.0)
    while True:
        phase = next(p for p in reversed(mix.curriculum) if p.begins <= progress())
        kind = min(phase.shares, key=lambda name: spent[name] / phase.shares[name])
        text = mix.kinds[kind](rng)
        tokens = measure(text)
        for name, share in phase.shares.items():
            spent[name] -= share * tokens
        spent[kind] += tokens
        yield text


def asked_facts() -> tuple[Fact, ...]:
    """Return the facts that training may ask for as questions."""
    return _facts("open", "choice")


@cache
def _facts(*roles: str) -> tuple[Fact, ...]:
    return tuple(fact for fact in facts.facts() if fact.role in roles)


@cache
def _vocabulary() -> tuple[str, ...]:
    """Return single short words to look up: answers, names and colours."""
    words = {fact.answer for fact in facts.facts()} | set(reasoning.NAMES) | set(reasoning.COLORS)
    return tuple(sorted(word for word in words if " " not in word and len(word) < 9))


@cache
def _open_facts_by_answer() -> dict[str, list[Fact]]:
    found: dict[str, list[Fact]] = {}
    for fact in _facts("open"):
        found.setdefault(fact.answer, []).append(fact)
    return found


def _some_options(rng: random.Random) -> list[str]:
    """Return four or five words of any kind, or answers of one relation."""
    count = rng.choice((4, 5))
    if rng.random() < 0.65:
        return rng.sample(_vocabulary(), count)
    return documents.options(_any_fact(rng, "mmlu", "commonsenseqa"), count, rng)


def _lettered(options: list[str]) -> tuple[str, list[str]]:
    return "".join(f"{label}. {option}\n" for label, option in zip(LETTERS, options, strict=False)), options


@cache
def _open_facts_of(relation: str) -> tuple[Fact, ...]:
    return tuple(fact for fact in _facts("open") if fact.relation.name == relation)


@cache
def _relations_of(*benchmarks: str) -> tuple[str, ...]:
    return tuple(n for n, r in facts.relations().items() if r.benchmark in benchmarks and _open_facts_of(n))


def _any_fact(rng: random.Random, *benchmarks: str) -> Fact:
    """Choose a relation first, the people's twice as often: they are many, and the only open facts in bulk."""
    relations = _relations_of(*benchmarks)
    weights = [4 if name.startswith("person.") else 1 for name in relations]
    return rng.choice(_open_facts_of(rng.choices(relations, weights)[0]))


def covariance_texts(count: int = 1200, seed: int = 101) -> list[str]:
    """Return documents in the proportions of the last phase of training, as texts."""
    rng = random.Random(seed)
    passing = stream(rng, lambda text: sum(len(part) for part, _ in text), lambda: 1.0)
    return ["".join(part for part, _ in next(passing)) for _ in range(count)]
