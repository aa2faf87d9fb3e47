"""Reads Markdown pages: their code, the files that blocks of it belong into, headings, links and rows of tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^`([\w./-]+)`(?:, in `(\w+)`)?\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
OTHER_PROGRAMS = re.compile(r"^(git|pip|ruff|docker|cp|cd|\.|python -m (?:venv|pytest test_gate\.py))\b")


@dataclass(frozen=True)
class FileBlock:
    """A code block with a file's name in the line above it.

    Attributes:
        file: its path in the repository.
        table: the table of that file whose first row it becomes; empty: it ends the file, or is the whole of it.
        text: the code.
    """

    file: str
    table: str
    text: str

    def write_into(self, repository: Path) -> None:
        """Put the block where the page says."""
        path = repository / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if self.table:
            start = re.search(rf"^{self.table}\b.*\{{\n(?:    row\.name: row\n    for row in \(\n)?", old, re.MULTILINE)
            assert start is not None, f"{self.file} has no table {self.table}"
            path.write_text(old[: start.end()] + self.text + old[start.end() :], encoding="utf-8")
        else:
            path.write_text("\n\n".join(filter(None, [old.rstrip("\n"), self.text])), encoding="utf-8")


def file_blocks(page: str) -> list[FileBlock]:
    """Return the code blocks that have a file's name in the line above them."""
    return [FileBlock(*found) for found in FILE.findall(page)]


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a language."""
    return [text for given, text in FENCE.findall(page) if given == language]


def code(page: str) -> list[str]:
    """Return what stands between single backticks and the lines of commands, without comments.

    Commands of other programs are left out.
    """
    lines = [line.strip().partition("  #")[0] for block in blocks(page, "bash") for line in block.splitlines()]
    inline = re.findall(r"`([^`]+)`", FENCE.sub("", page))
    return [line for line in [*lines, *(text.replace("\n", " ") for text in inline)] if not OTHER_PROGRAMS.match(line)]


def anchors(page: str) -> list[str]:
    """Return what GitHub calls the headings in links."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def links(page: str) -> list[str]:
    """Return the targets of links, but for those to other sites."""
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", page) if "://" not in target]


def row(page: str, name: str) -> list[str]:
    """Return the cells of the only row of a table that begins with a name in backticks."""
    (line,) = (line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
    return [cell.strip() for cell in line.strip("| ").split("|")]
