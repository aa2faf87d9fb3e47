"""The pages that people read, and the blocks of each."""

from __future__ import annotations

from meta.docs.blocks import Block, blocks
from meta.support.gate import ROOT

FILES = ("README.md", "CONTRIBUTING.md", "docs/*.md", "tests/meta/example_method/README.md")
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for pattern in FILES
    for path in sorted(ROOT.glob(pattern))
}
BLOCKS: list[Block] = [block for page, text in TEXTS.items() for block in blocks(page, text)]
