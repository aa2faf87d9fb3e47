"""What of a Markdown page can be run: files to write, commands to type, texts to expect."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^`([\w./-]+)`[^\n`]*(?:`\w+`)?\n\n```(?:python|toml|json)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:pytest|python -m) [^`]+)`")
COMMAND = re.compile(r"^(?:pytest|python -m)\b")
PATH = re.compile(r"`((?:\.ci|\.github|docs|editors|tests|thresholds)/[\w./-]*)`")


def files(page: str) -> dict[str, str]:
    """Return the code blocks that have a file's name in the line above them, by that name."""
    return dict(FILE.findall(page))


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of a language; "" for those without one."""
    return [text for given, text in FENCE.findall(page) if given == language]


def commands(page: str) -> Iterator[list[str]]:
    """Yield every `pytest …` and `python -m …` of a page as words, without comments and prompts."""
    lines = [line.strip() for block in blocks(page, "") + blocks(page, "sh") for line in block.splitlines()]
    for line in [*filter(COMMAND.match, lines), *INLINE.findall(FENCE.sub("", page))]:
        yield shlex.split(line, comments=True)


def paths(page: str) -> set[str]:
    """Return the repository's files and folders that a page names."""
    return set(PATH.findall(page))


def sections(page: str) -> dict[str, str]:
    """Return the text below each heading of the third level, by heading."""
    parts = re.split(r"^#{2,3} (.+)\n", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def below(folder: Path, found: dict[str, str]) -> None:
    """Write blocks as the files that they are."""
    for name, text in found.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
