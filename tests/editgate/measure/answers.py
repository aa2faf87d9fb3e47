"""Whether what a model wrote is the answer that was asked for, or the one that it gave before.

A real model goes on writing ("Rome, the capital of Italy, is"), so an answer counts if it begins with the target and
the target ends there at the end of a word. Capitals, punctuation, width and Unicode form do not count; accents do.

What goes on may change what was said, and a rule on letters cannot tell: "Rome" is also the beginning of "Rome is not",
"Rome or Paris" and "Rome Rome Rome". All of them say that the edit took hold. What else it did to the model is for
locality, perplexity and the benchmarks to see. An answer that comes to the target later ("the city of Rome") is wrong.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

APOSTROPHES = re.compile("[\u2018\u2019\u02bc\u00b4`]")
POSSESSIVE = re.compile(r"'s(?![^\W_])", re.IGNORECASE)
ABBREVIATION = re.compile(r"(?<![^\W_])[^\W\d_](?:\.[^\W\d_])+(?![^\W_])\.?")  # U.S., e.g., J.R.R.
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
UNIT = re.compile(r"(?<=\d)\s+(?=[%\u2030\u00b0])")
LARGER = re.compile(r"[十百千万萬億亿兆]| (hundred|thousand|[mbtr]+illion|percent)s?(?!\w)")  # it is another number
MARKS_OF_TRADE = re.compile("[\u00ae\u00a9\u2122\u2120]")
LONG_DASHES = "\u2014\u2015\u2e3a\u2e3b"  # between clauses; all others join words
MINUS = "\u2212"
JOINER = "-"  # stands for all that joins two words to one: a hyphen, a slash, an underscore, the dot of node.js
BELONGS_TO_WORD_BEFORE = "+#%\u2030&@\u00b0"  # C++, C#, 5%, R&B
IN_NUMBERS = ".,:"
STOPS = (".", "\n")  # where an answer ends that says no more
INVISIBLE_JOINER = "\u200d"  # joins emoji to another one
SYMBOLS = ("Sc", "Sm", "So")
VARIANT = re.compile("[\ufe00-\ufe0f]")
SKIN_TONES = re.compile("[\U0001f3fb-\U0001f3ff]")
FIRST_WORDS = 5  # of an answer, at most, that another one must share: what a reader takes for the answer itself
WORD = re.compile(r"\w")
CLAUSE_END = re.compile(
    r"[,;:!?\n()\u2014\u3001\u3002\uff0c\uff1a\uff1b]|(?<=\w{4})\.(?=\s|$)"
)  # not the stop of "St."
WITHOUT_SPACES = re.compile(  # Thai to Myanmar, Khmer, Hiragana, Han, Hangul, whose particles follow without a space
    "[\u0e00-\u109f\u1780-\u17ff\u3040-\u309f\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)


def begins_with(answer: str, target: str) -> bool:
    """Return whether an answer begins with the target, and the target ends there at the end of a word.

    "Italy, a country", "Italy's capital" and "ITALY." begin with "Italy"; "Italian", "Italy-based" do not. A number
    ends where no digit, unit or larger number follows: "3.5", "3%" and "3 million" do not begin with "3". In scripts
    without spaces any continuation is taken for the next word. A target without letters, digits and symbols ("!") is
    compared as it is written.
    """
    wanted = normal(target)
    if not wanted:
        return answer.strip().startswith(target.strip())
    return any(_begins_with(reading, wanted) for reading in _readings(answer))


def is_exactly(answer: str, target: str) -> bool:
    """Return whether an answer begins with the target and stops there: at a full stop, a line break, or its end."""
    written = answer.strip()
    begin, rest = written[: len(target)], written[len(target) :]
    if not rest.startswith(STOPS):  # "St. Louis. It" has a stop before its end, which is no end
        begin = written
        for stop in (stop for stop in STOPS if stop not in target):
            begin = begin.split(stop)[0]
    if not normal(target):
        return begin.strip() == target.strip()
    wanted = _words(normal(target))
    return begins_with(answer, target) and any(_words(reading) == wanted for reading in _readings(begin))


def same_answer(before: str, now: str) -> bool:
    """Return whether an answer still begins as it did: with its first clause, of which five words at most count.

    "Rome, where he" is the same answer as "Rome, the city". "the Pacific Ocean" and "the Atlantic Ocean" are two,
    though both begin with "the". A text is the same answer as itself, whatever it holds. Why this
    rule, and how little is known of its length: docs/edit-quality.md.
    """
    words, found = _single_words(before), _single_words(now)
    if not words:
        return before.strip() == now.strip()
    begin = WORD.search(before)
    end = CLAUSE_END.search(before, begin.start() if begin else 0)
    of_clause = len(_single_words(before[: end.start()] if end else before))
    count = min(FIRST_WORDS, max(1, of_clause))
    return found[:count] == words[:count]


@lru_cache(maxsize=1 << 14)  # each verdict of a trajectory reads the answers of all edits before it
def normal(text: str) -> str:
    """Return a text in one form: lower case, single spaces, of punctuation only what belongs to a word or a number.

    "St. Louis" becomes "st louis", "U.S." "us", "don't" "dont", "Spider-Man" "spider-man" and "1,000.5" "1000.5".
    """
    text = unicodedata.normalize("NFKC", APOSTROPHES.sub("'", MARKS_OF_TRADE.sub(" ", text)))
    text = ABBREVIATION.sub(lambda found: found[0].replace(".", ""), text)
    text = UNIT.sub("", THOUSANDS.sub("", text))
    joined = "".join(_kept(text))
    return " ".join(unicodedata.normalize("NFKC", joined.casefold()).split())


def _kept(text: str) -> Iterator[str]:
    """Yield what stands for each character: itself, a joiner, a space, or nothing."""
    last = " "
    for place, here in enumerate(text):
        kept = _stands_for(last, here, text[place + 1 : place + 2])
        yield kept
        last = kept or last


def _stands_for(before: str, here: str, after: str) -> str:  # noqa: PLR0911 - a table of kinds of characters
    category = unicodedata.category(here)
    in_word, in_number = before.isalnum() and after.isalnum(), before.isdigit() and after.isdigit()
    if here == INVISIBLE_JOINER or (in_number and here in IN_NUMBERS):
        return here
    if not here.isspace() and (category in {"Cf", "Cc"} or VARIANT.match(here)):
        return ""
    if (category == "Pd" and here not in LONG_DASHES) or here == MINUS:
        return JOINER if in_word else MINUS if before == " " and after.isdigit() else " "
    if here in BELONGS_TO_WORD_BEFORE:
        return here if before.isalnum() or before in BELONGS_TO_WORD_BEFORE else " "
    if in_word and here == "'":
        return ""
    if in_word and (here in "/_" or (here == "." and not after.isupper())):
        return JOINER
    return here if category[0] in "LMN" or category in SYMBOLS or SKIN_TONES.match(here) else " "


def _readings(answer: str) -> tuple[str, str]:
    """An answer, and the same without its possessives: "Italy's capital" names Italy, "McDonald's" is a name."""
    plain = APOSTROPHES.sub("'", answer)
    return normal(plain), normal(POSSESSIVE.sub(" ", plain))


def _words(text: str) -> list[str]:
    return text.replace(JOINER, " ").split()


def _single_words(text: str) -> list[str]:
    """Words, and in scripts without spaces characters."""
    return WITHOUT_SPACES.sub(r" \g<0> ", normal(text).replace(JOINER, " ")).split()


def _begins_with(found: str, wanted: str) -> bool:
    """As `begins_with`, of normal forms. "Spider Man" is "Spider-Man", but "Spider" is not."""
    same = found.replace(JOINER, " ").startswith(wanted.replace(JOINER, " "))
    return same and _ends_a_word(wanted[-1], found[len(wanted) :])


def _ends_a_word(last: str, rest: str) -> bool:
    if not rest:
        return True
    if last.isdigit() and LARGER.match(rest):
        return False
    here = rest[0]
    category = unicodedata.category(here)
    if category[0] == "M" or here == INVISIBLE_JOINER or SKIN_TONES.match(here):
        return False
    if WITHOUT_SPACES.match(last) or WITHOUT_SPACES.match(here):
        return True
    return (
        here == " " or (category == "So" and here not in BELONGS_TO_WORD_BEFORE) or unicodedata.category(last) == "So"
    )
