"""Every sentence that the code can print, as a pattern: f-strings with their values left open."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
FEWEST = 20  # fixed characters; less would be found in anything


@dataclass(frozen=True)
class Sentence:
    """One text of the code, in fixed pieces."""

    pieces: tuple[str, ...]

    def stands_in(self, text: str) -> bool:
        """Whether the pieces stand in the text in their order."""
        return re.search(".+?".join(map(re.escape, self.pieces)), text) is not None


@cache
def all_of_them() -> tuple[Sentence, ...]:
    """Return the sentences of the machine room and the editors, and the reasons of the thresholds."""
    sources = [*ROOT.glob("tests/harness/**/*.py"), *ROOT.glob("editors/**/*.py")]
    found = [text for source in sources for text in _of_code(source)]
    found += [(text,) for source in ROOT.glob("thresholds/*.toml") for text in _reasons(source)]
    plain = [tuple(filter(None, (squeezed(piece) for piece in pieces))) for pieces in found]
    return tuple(Sentence(pieces) for pieces in plain if sum(map(len, pieces)) >= FEWEST)


def squeezed(text: str) -> str:
    """Return a text with single spaces for all white space, so that line breaks do not matter."""
    return re.sub(r"\s+", " ", text)


def _of_code(source: Path) -> Iterator[tuple[str, ...]]:
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield tuple(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield (node.value,)


def _reasons(source: Path) -> Iterator[str]:
    for limit in tomllib.loads(source.read_text(encoding="utf-8")).get("known_limit", []):
        yield limit["reason"].partition(";")[0]
