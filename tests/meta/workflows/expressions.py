"""Evaluates the expressions of workflows, `${{ ... }}`, as far as ours use them; anything else is an error.

GitHub gives an empty text for a name that it does not know. Here that is an error too: it is a typo.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Value: TypeAlias = Any  # None, bool, float, str, or a mapping of them

TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>[A-Za-z_][\w-]*)|(?P<sign>&&|\|\||==|!=|[!().\[\]]))"
)
PLACE = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
STATUS = ("success", "failure", "always", "cancelled")
WORDS = {"true": True, "false": False, "null": None}


class ExpressionError(ValueError):
    """An expression that GitHub would refuse, or that this evaluator does not know."""


def fill(text: str, contexts: Mapping[str, Value]) -> str:
    """Return a text with the values of its expressions in their places; what a value contains is not looked at again.

    Args:
        text: such as "editgate-${{ runner.os }}".
        contexts: `inputs`, `github` and the like.

    Raises:
        ExpressionError: An expression is malformed, or names something that is not there.
    """
    if text.count("${{") != len(PLACE.findall(text)):
        raise ExpressionError(f"{text!r}: an expression is not closed")
    return PLACE.sub(lambda found: as_text(_Reader(found[1], contexts, {}).value()), text)


def holds(condition: str | None, contexts: Mapping[str, Value], *, failed: bool) -> bool:
    """Return whether a step with this `if:` runs; without a status function it needs `success()` as well.

    Args:
        condition: with or without `${{ }}`; None if the step has none.
        contexts: as `fill` takes them.
        failed: a step before it failed.
    """
    functions: dict[str, Callable[[], bool]] = {
        "success": lambda: not failed,
        "failure": lambda: failed,
        "always": lambda: True,
        "cancelled": lambda: False,
    }
    if condition is None:
        return not failed
    inner = PLACE.fullmatch(condition.strip())
    text = inner[1] if inner else condition
    found = bool(_Reader(text, contexts, functions).value())
    if any(re.search(rf"\b{name}\s*\(", text) for name in STATUS):
        return found
    return found and not failed


def as_text(value: Value) -> str:
    """Return a value as GitHub writes it into a text.

    Raises:
        ExpressionError: It is an object.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return value
    raise ExpressionError("an object is no text")


class _Reader:
    """Reads one expression by recursive descent."""

    def __init__(self, text: str, contexts: Mapping[str, Value], functions: Mapping[str, Callable[[], bool]]) -> None:
        self._text = text.strip()
        self._contexts = contexts
        self._functions = functions
        self._tokens = self._split()

    def _split(self) -> list[tuple[str, str]]:
        tokens, at = [], 0
        while at < len(self._text):
            found = TOKEN.match(self._text, at)
            if found is None or found.lastgroup is None:
                raise self._error(f"'{self._text[at:].strip()}' is not understood")
            tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()
        return tokens

    def _error(self, reason: str) -> ExpressionError:
        return ExpressionError(f"${{{{ {self._text} }}}}: {reason}")

    def _next_is(self, *signs: str) -> bool:
        return bool(self._tokens) and self._tokens[0][0] == "sign" and self._tokens[0][1] in signs

    def _take(self, *signs: str) -> str:
        if not self._next_is(*signs):
            raise self._error(f"expected one of {signs}")
        return self._tokens.pop(0)[1]

    def value(self) -> Value:
        """Return the value of the whole expression."""
        found = self._either()
        if self._tokens:
            raise self._error(f"'{self._tokens[0][1]}' is one too many")
        return found

    def _either(self) -> Value:
        found = self._both()
        while self._next_is("||"):
            self._take("||")
            other = self._both()
            found = found or other
        return found

    def _both(self) -> Value:
        found = self._equal()
        while self._next_is("&&"):
            self._take("&&")
            other = self._equal()
            found = found and other
        return found

    def _equal(self) -> Value:
        found = self._single()
        while self._next_is("==", "!="):
            sign = self._take("==", "!=")
            other = self._single()
            if type(found) is not type(other):
                raise self._error("values of two kinds are compared")
            same = found.casefold() == other.casefold() if isinstance(found, str) else found == other
            found = same if sign == "==" else not same
        return found

    def _single(self) -> Value:
        if self._next_is("!"):
            self._take("!")
            return not self._single()
        if self._next_is("("):
            self._take("(")
            found = self._either()
            self._take(")")
            return found
        if not self._tokens:
            raise self._error("a value is missing")
        kind, word = self._tokens.pop(0)
        if kind == "name":
            return self._named(word)
        if kind == "sign":
            raise self._error(f"'{word}' is no value")
        return float(word) if kind == "number" else word[1:-1].replace("''", "'")

    def _named(self, word: str) -> Value:
        if word in WORDS:
            return WORDS[word]
        if not self._next_is("("):
            return self._member(word)
        self._take("(")
        self._take(")")
        if word not in self._functions:
            raise self._error(f"no function '{word}' is known here")
        return self._functions[word]()

    def _member(self, word: str) -> Value:
        found: Value = self._contexts
        path = word
        while True:
            if not isinstance(found, Mapping) or word not in found:
                raise self._error(f"there is no '{path}'")
            found = found[word]
            if not self._next_is("."):
                return found
            self._take(".")
            if not self._tokens or self._tokens[0][0] != "name":
                raise self._error(f"a name is missing after '{path}.'")
            word = self._tokens.pop(0)[1]
            path = f"{path}.{word}"
