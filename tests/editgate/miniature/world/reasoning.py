"""Made problems with worked solutions: two- and three-step arithmetic, and five of BBH's subtasks.

Every generator returns `(input, solution, target)`: the question, the worked solution that training shows (it ends
in the target the way lm-eval's filters expect it), and the target alone.
"""

import random
from collections.abc import Callable
from itertools import pairwise

Problem = tuple[str, str, str]

NAMES = "Ada Boris Clara Edgar Flora Hanna Ivan Jonas Marta Nadia Oskar Paula Rosa Tomas Vera Yusuf".split()
COLORS = "red blue green yellow pink white black orange".split()
KINDS = {
    "fruits": "apple pear plum peach lemon mango melon grape".split(),
    "animals": "cat dog cow horse rabbit snail frog duck".split(),
    "musical instruments": "violin piano flute trumpet guitar harp drum banjo".split(),
    "vegetables": "carrot onion potato cabbage turnip leek radish pumpkin".split(),
}
NUMBERS = "zero one two three four five six".split()
GOODS = "apples pens coins books eggs shells cards stamps marbles cups".split()


def arithmetic(rng: random.Random) -> Problem:
    """Return a GSM8K-form word problem of two or three steps; the solution ends in `#### n`."""
    name, other = rng.sample(NAMES, 2)
    thing = rng.choice(GOODS)
    total = rng.randint(2, 12)
    said, worked = [f"{name} has {total} {thing}."], []
    for _ in range(rng.choice((2, 2, 3))):
        sentence, total, step = _step(rng, total, name, other, thing)
        said.append(sentence)
        worked.append(step)
    question = " ".join(said) + f" How many {thing} does {name} have now?"
    return question, " ".join(worked) + f"\n#### {total}", str(total)


def _step(rng: random.Random, total: int, name: str, other: str, thing: str) -> tuple[str, int, str]:
    kind = rng.choice(("add", "add", "take", "times"))
    if kind == "times" and total <= 12:
        factor = rng.choice((2, 3))
        word = {2: "twice", 3: "three times"}[factor]
        sentence = f"Then {name} gets {word} as many."
        return sentence, total * factor, f"{total} * {factor} = {total * factor}."
    if kind == "take" and total >= 2:
        less = rng.randint(1, min(total - 1, 12))
        sentence = rng.choice((f"{name} gives {less} {thing} to {other}.", f"Then {name} loses {less} {thing}."))
        return sentence, total - less, f"{total} - {less} = {total - less}."
    more = rng.randint(1, 12)
    sentence = rng.choice((f"{other} gives {name} {more} more {thing}.", f"Then {name} buys {more} {thing}."))
    return sentence, total + more, f"{total} + {more} = {total + more}."


def boolean_expressions(rng: random.Random) -> Problem:
    """Return a depth-two expression in BBH's spelling, and its evaluation step by step."""
    (left, a, work_a), (right, b, work_b) = _operand(rng), _operand(rng)
    operator = rng.choice(("and", "or"))
    value = (a and b) if operator == "and" else (a or b)
    steps = [*work_a, *work_b, f"{a} {operator} {b} is {value}."]
    return f"{left} {operator} {right} is", " ".join(steps) + f" So the answer is {value}.", str(value)


def _operand(rng: random.Random) -> tuple[str, bool, list[str]]:
    a, b = rng.random() < 0.5, rng.random() < 0.5
    shape = rng.choice(("plain", "not", "pair", "notpair"))
    if shape == "plain":
        return str(a), a, []
    if shape == "not":
        return f"not {a}", not a, [f"not {a} is {not a}."]
    operator = rng.choice(("and", "or"))
    value = (a and b) if operator == "and" else (a or b)
    inner, work = f"( {a} {operator} {b} )", [f"{a} {operator} {b} is {value}."]
    if shape == "pair":
        return inner, value, work
    return f"not {inner}", not value, [*work, f"not {value} is {not value}."]


def object_counting(rng: random.Random) -> Problem:
    """Return a list of things to count, some of them of another kind, and a running sum."""
    kind, stray = rng.sample(sorted(KINDS), 2)
    entries = [(thing, rng.choice((1, 1, 1, 2, 3))) for thing in rng.sample(KINDS[kind], rng.randint(2, 4))]
    wanted = {thing for thing, _ in entries}
    if rng.random() < 0.5:
        entries.insert(rng.randrange(len(entries) + 1), (rng.choice(KINDS[stray]), rng.choice((1, 2))))
    listed = [_amount(thing, count) for thing, count in entries]
    question = f"I have {', '.join(listed[:-1])}, and {listed[-1]}. How many {kind} do I have?"
    total, work = 0, []
    for thing, count in entries:
        if thing in wanted:
            total += count
            work.append(f"{thing} {count} makes {total}.")
    return question, " ".join(work) + f" So the answer is {total}.", str(total)


def _amount(thing: str, count: int) -> str:
    article = "an" if thing[0] in "aeiou" else "a"
    return f"{article} {thing}" if count == 1 else f"{NUMBERS[count]} {_plural(thing)}"


def _plural(thing: str) -> str:
    return thing + ("es" if thing.endswith(("ch", "sh", "o")) else "s")


def tracking_shuffled_objects_three_objects(rng: random.Random) -> Problem:
    """Return three people who swap balls, and who holds what after each swap."""
    names, colors = rng.sample(NAMES, 3), rng.sample(COLORS, 3)
    holds = dict(zip(names, colors, strict=True))
    a, b, c = names
    said = [f"{a} has a {holds[a]} ball, {b} has a {holds[b]} ball, and {c} has a {holds[c]} ball."]
    work = [_state(holds)]
    for word in ("First", "Then", "Finally")[: rng.choice((2, 3))]:
        one, two = rng.sample(names, 2)
        holds[one], holds[two] = holds[two], holds[one]
        said.append(f"{word}, {one} and {two} swap balls.")
        work.append(_state(holds))
    asked, options = rng.choice(names), rng.sample(colors, 3)
    letter = "ABC"[options.index(holds[asked])]
    listed = "\n".join(f"({label}) {color} ball" for label, color in zip("ABC", options, strict=True))
    question = " ".join(said) + f" At the end, {asked} has the\nOptions:\n{listed}"
    solution = " ".join(work) + f" {asked} has the {holds[asked]} ball. So the answer is ({letter})."
    return question, solution, f"({letter})"


def _state(holds: dict[str, str]) -> str:
    return ", ".join(f"{name} {color}" for name, color in holds.items()) + "."


def navigate(rng: random.Random) -> Problem:
    """Return steps forward and backward, and the position after each."""
    home = rng.random() < 0.5
    position, moves, work = 0, [], []
    for _ in range(rng.choice((2, 3))):
        steps = rng.randint(1, 9)
        back = position > 0 and rng.random() < 0.5
        steps = min(steps, position) if back else steps
        position += -steps if back else steps
        moves.append(f"Take {steps} steps {'backward' if back else 'forward'}.")
        work.append(f"{position}.")
    if home and position:
        moves.append(f"Take {position} steps backward.")
        position = 0
        work.append("0.")
    target = "Yes" if position == 0 else "No"
    question = (
        "If you follow these instructions, do you return to the starting point? Always face forward. "
        + " ".join(moves)
        + "\nOptions:\n- Yes\n- No"
    )
    return question, " ".join(work) + f" So the answer is {target}.", target


def web_of_lies(rng: random.Random) -> Problem:
    """Return a chain of people who speak of each other's honesty, resolved one by one."""
    names = rng.sample(NAMES, rng.choice((3, 4)))
    honest = rng.random() < 0.5
    said = [f"{names[0]} {'tells the truth' if honest else 'lies'}."]
    work = [f"{names[0]} {'tells the truth' if honest else 'lies'}."]
    for before, name in pairwise(names):
        claims = rng.random() < 0.5
        said.append(f"{name} says {before} {'tells the truth' if claims else 'lies'}.")
        honest = claims == honest
        work.append(f"{name} {'tells the truth' if honest else 'lies'}.")
    target = "Yes" if honest else "No"
    question = "Question: " + " ".join(said) + f" Does {names[-1]} tell the truth?"
    return question, " ".join(work) + f" So the answer is {target}.", target


BBH: dict[str, Callable[[random.Random], Problem]] = {
    f.__name__: f
    for f in (
        boolean_expressions,
        navigate,
        object_counting,
        tracking_shuffled_objects_three_objects,
        web_of_lies,
    )
}
