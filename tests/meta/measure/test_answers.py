"""An answer that goes on counts if it begins with the target, and the target ends there at the end of a word."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from editgate.measure.answers import begins_with, is_exactly, normal, same_answer

BEGINS = [
    ("Italy, a country", "Italy"),
    ("ITALY.", "italy"),
    ("Italy's capital", "Italy"),
    ("Italy’s capital", "Italy"),
    ("McDonald's food", "McDonald's"),
    ("McDonalds", "McDonald’s"),
    ("don’t go", "don't"),
    ("Rome Rome Rome", "Rome"),
    ("Rome is not the", "Rome"),
    ("**Rome** is", "Rome"),
    ("“Rome”, she", "Rome"),
    ("\n\nRome", "Rome"),
    ("Rome (Italy)", "Rome"),
    ("Rome—the capital", "Rome"),
    ("Rome.The capital", "Rome"),
    ("Google™ is", "Google"),
    ("Google社は", "Google"),
    # full stops, sentences, lines
    ("St. Louis. It is", "St. Louis"),
    ("St. Louis. It is", "St. Louis."),
    ("St Louis is", "St. Louis"),
    ("U.S. president", "US"),
    ("US and", "U.S."),
    ("J.R.R. Tolkien wrote", "JRR Tolkien"),
    ("node.js is", "Node.js"),
    ("Hello.\nHow are you? Fine", "Hello. How are you?"),
    ("one line\nanother one, and", "one line\nanother one"),
    # words that are joined
    ("spider man is", "Spider-Man"),
    ("Saint-Denis is", "Saint Denis"),
    ("R&B music", "R&B"),
    ("C++ and", "C++"),
    ("C# is", "C#"),
    # numbers
    ("3. The", "3"),
    ("3, 4 and 5", "3"),
    ("3.5 and", "3.5"),
    ("1,000 people", "1000"),
    ("1000 people", "1,000"),
    ("-5 degrees", "-5"),
    ("5 % of", "5%"),
    ("10:30 am", "10:30"),
    ("1990年", "1990"),
    # forms and scripts
    ("Ｒｏｍｅ is", "Rome"),
    ("café au", "cafe\u0301"),
    ("STRASSE is", "Straße"),
    ("Москва, столица", "москва"),
    ("القاهرة هي", "القاهرة"),
    ("हिन्दी में", "हिन्दी"),
    ("北京市", "北京"),
    ("パリは", "パリ"),
    ("서울은", "서울"),
    ("กรุงเทพมหานคร", "กรุงเทพ"),
    ("🎉🎉 yes", "🎉"),
    ("Rome🎉", "Rome"),
    ("❤\ufe0f you", "❤"),
    ("!", "!"),
]
DOES_NOT = [
    ("", "Rome"),
    ("Rom", "Rome"),
    ("Italian", "Italy"),
    ("Artisan", "Art"),
    ("the Italy", "Italy"),
    ("Jean-Paul", "Jean"),
    ("Rome", "Rome, Italy"),
    ("St. Louise. It", "St. Louis"),
    ("U.S.A. is", "U.S."),
    ("node.js", "Node"),
    ("google.com", "Google"),
    ("don't", "don"),
    ("O'Brien", "O"),
    ("C# is", "C"),
    ("C++ is", "C"),
    ("R&B music", "R"),
    ("?", "!"),
    ("30", "3"),
    ("3.5 million", "3"),
    ("3 million", "3"),
    ("3万", "3"),
    ("3%", "3"),
    ("3 %", "3"),
    ("3rd", "3"),
    ("1,000", "1"),
    ("10:30", "10"),
    ("1939–1945", "1939"),
    ("25°C", "25"),
    ("5", "-5"),
    ("-5", "5"),
    ("$5", "5"),
    ("cafe au", "café"),
    ("café au", "cafe"),
    ("cafe\u0301 au", "cafe"),
    ("हिन्दी", "हिन्द"),
    ("パリジャン", "パリ"),
    ("👨\u200d👩\u200d👧", "👨"),
    ("👍🏽", "👍"),
]
EXACT = [
    ("Italy", "Italy"),
    ("italy\nIt", "Italy"),
    ("Italy. It is", "Italy"),
    ("St. Louis. It is", "St. Louis"),
    ("St. Louis.", "St. Louis."),
    ("Hello. How?\nFine", "Hello. How?"),
    ("3. It", "3"),
]
NOT_EXACT = [
    ("Italy, a country", "Italy"),
    ("Italy and France", "Italy"),
    ("Ital", "Italy"),
    ("", "Italy"),
    ("3.5 million", "3"),
    ("St. Louis is", "St. Louis"),
]
SAME = [
    ("Rome, where he", "Rome, the city"),
    ("Rome. It is", "ROME, a city"),
    ("2012 by a group of 12", "2012 by a group of people"),
    ("the Pacific Ocean.\n\nThe", "the Pacific Ocean, and it"),
    ("a small, old town", "a small city"),
    ("cook", "cook cook cook"),
    ("北京。它是", "北京，是"),
    ("", ""),
    ("...", "..."),
]
CHANGED = [
    ("the Pacific Ocean. It", "the middle of the Atlantic"),
    ("the United States, and", "the United Nations."),
    ("a historic center of Italy", "a major hub of trade"),
    ("2012. It", "2014. It"),
    ("St. Louis is", "St. Paul is"),
    ("3.5 m", "3.7 m"),
    ("Rome", "Romeo"),
    ("Rome", ""),
    ("", "Rome"),
    ("...", "!!!"),
    ("北京。它是", "东京。它是"),
    (", the Roman Emperor", ", the Roman Empire"),
]
texts = st.text(max_size=12) | st.text("aBé.,'- 3C+#%\n🎉北パ", max_size=12)


@pytest.mark.parametrize(("answer", "target"), BEGINS)
def test_answers_that_begin_with_the_target(answer: str, target: str) -> None:
    """Case, punctuation, width and Unicode form do not count; what follows the word does not either."""
    assert begins_with(answer, target), (normal(answer), normal(target))


@pytest.mark.parametrize(("answer", "target"), DOES_NOT)
def test_answers_that_do_not(answer: str, target: str) -> None:
    """A word that only begins alike, a larger number, another accent or another glyph is another answer."""
    assert not begins_with(answer, target), (normal(answer), normal(target))


@pytest.mark.parametrize(("answer", "target", "exact"), [(*e, True) for e in EXACT] + [(*e, False) for e in NOT_EXACT])
def test_an_exact_answer_stops_there(answer: str, target: str, *, exact: bool) -> None:
    """A full stop, a line break or the answer's end must follow, unless the target itself goes on after a stop."""
    assert is_exactly(answer, target) == exact


@given(texts)
@example("’s")
@example("3.\ufe0f5")
def test_everything_begins_with_itself(target: str) -> None:
    """Whatever the target is made of, the answer that is the target counts, and is exact."""
    assert begins_with(target, target)
    assert is_exactly(target, target)


@given(texts, texts)
def test_whatever_follows_a_space_does_not_matter(target: str, more: str) -> None:
    """A target that a space follows counts, but for numbers, of which words make larger ones."""
    assume(not normal(target)[-1:].isnumeric())
    assert begins_with(f"{target} {more}", target)


@given(st.text("abcdéñжшλ", min_size=1), st.text("abcdéñжшλ", min_size=1), texts)
def test_the_beginning_of_a_word_is_not_the_word(target: str, end: str, more: str) -> None:
    """No target counts that is a proper prefix of the answer's first word."""
    assert not begins_with(f"{target}{end} {more}", target)


@given(texts, texts)
def test_exact_is_stricter(answer: str, target: str) -> None:
    """What is exact begins with the target."""
    assert begins_with(answer, target) or not is_exactly(answer, target)


@given(texts)
def test_the_normal_form_is_final(text: str) -> None:
    """A normal form has one: nothing is left that would change in a second pass over its words."""
    assert normal(normal(text).replace("\u2212", "-")) == normal(text)


@pytest.mark.parametrize(("before", "now", "same"), [(*e, True) for e in SAME] + [(*e, False) for e in CHANGED])
def test_the_first_clause_tells_whether_an_answer_stayed(before: str, now: str, *, same: bool) -> None:
    """What follows the first clause, or its fifth word, does not count; a shared article is not a shared answer."""
    assert same_answer(before, now) == same


@given(texts)
def test_an_answer_is_the_same_as_itself(text: str) -> None:
    """A method that changes nothing has a locality of exactly 1."""
    assert same_answer(text, text)
