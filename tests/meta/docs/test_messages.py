"""The messages that docs/failures.md quotes are editgate's own: their words stand in its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from meta.docs.blocks import Block
from meta.docs.pages import BLOCKS
from meta.support.gate import ROOT

QUOTED = [block for block in BLOCKS if block.page == "docs/failures.md" and block.language == "text"]
# pytest's word, an example's own name and exception, and texts of one word, which as patterns would fit anything.
FOREIGN = {"[XPASS(strict)]", "meta.support.broken_methods:RaisesAtSeven:", "KeyError:", "raised", "wrote", "edit"}
VALUE = re.compile(r"'[^']*'")
LONGEST = 160  # characters that stand in a message for an expression in its source


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """The texts of the source as patterns, with room for each expression in them; reasons of thresholds too."""
    texts = [text for folder in ("tests/editgate", "tests/meta/support", "editors") for text in _texts(ROOT / folder)]
    for file in (ROOT / "thresholds").rglob("*.toml"):
        texts += re.findall(r'"([^"]{20,})"', file.read_text(encoding="utf-8"))
    joined = (" ".join(text.split()) for text in texts)
    worded = {text for text in joined if len(re.findall(r"[A-Za-z]{2,}", text.replace("\0", " "))) >= 2}
    room = f".{{1,{LONGEST}}}?"
    return tuple(re.compile(room.join(map(re.escape, text.split("\0")))) for text in worded)


def _texts(folder: Path) -> Iterator[str]:
    """Yield the texts of a folder's modules; NUL stands for an expression in one."""
    for path in folder.rglob("*.py"):
        nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
        parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
                yield node.value


def unknown_words(text: str) -> list[str]:
    """Return the words of a message that no text of the source accounts for; what is quoted in it is a value."""
    joined = " ".join(text.split())
    left = list(joined)
    for pattern in (VALUE, *_patterns()):
        for found in pattern.finditer(joined):
            left[found.start() : found.end()] = " " * (found.end() - found.start())
    return [word for word in "".join(left).split() if word not in FOREIGN and re.search(r"[A-Za-z]{2}", word)]


@pytest.mark.parametrize("block", QUOTED, ids=str)
def test_a_quoted_message_is_made_of_the_sources_words(block: Block) -> None:
    """Nothing is left of a quoted message without the texts that the source has, and what they leave room for."""
    assert unknown_words(block.text) == []


def test_a_reworded_message_is_found() -> None:
    """A word that the source does not say is left over, so a quotation that went stale shows."""
    text = next(block.text for block in QUOTED if "no item was scored" in block.text)
    assert unknown_words(text.replace("no item was scored", "not one item got points")) != []
