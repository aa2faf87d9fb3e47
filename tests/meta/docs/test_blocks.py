"""Every block of every page says how it is tested, and the comparison with what came out can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from meta.docs import outputs
from meta.docs.blocks import Block, NotRun, Printed, Run, Write, blocks
from meta.docs.pages import BLOCKS
from meta.docs.places import PLACES
from meta.docs.shells import Shell

COMMANDS = {"bash", "python"}
DATA = {"text", "yaml", "toml", "json"}
MESSAGES = "docs/failures.md"  # its texts are quotations, not what a command above them printed

TABLE = "SAFETY: x\n bbh  0.97  -0.84 ✗\n === 1 passed, 320 deselected in 1.74s ==="
PAGE = """
<!-- run in clone, nightly, exit 1 -->
```bash
pytest -k memit
```

It ends like this:

<!-- printed from "SAFETY" to "===" -->
```text
SAFETY
===
```

<!-- not run: it needs
a GPU -->
```bash
pytest --device=cuda
```

```python
print()
```

`editors/x.py`, in `TABLE`

```python
x = 1
```
"""


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_says_how_it_is_tested(block: Block) -> None:
    """Commands and Python run, are a file, or say why they cannot; a text after a command is what that printed."""
    said = block.directive
    assert block.language in COMMANDS | DATA, f"{block}: name a language, one of {sorted(COMMANDS | DATA)}"
    if block.named:
        return
    if block.language in COMMANDS:
        assert isinstance(said, Run | Write | NotRun), f"{block}: say how it is tested; see tests/meta/docs/blocks.py"
    if block.language == "text" and block.page != MESSAGES:
        assert isinstance(said, Printed | NotRun), f"{block}: say what printed it; see tests/meta/docs/blocks.py"
    if isinstance(said, Run | Write):
        assert said.place in PLACES, f"{block}: places are {sorted(PLACES)}"


def test_a_comment_belongs_to_the_block_below_it() -> None:
    """Each of the five kinds is read; a block with neither a comment nor a file's name has none."""
    found = blocks("page", PAGE)
    assert [block.directive for block in found] == [
        Run("clone", nightly=True, codes=(1,)),
        Printed("SAFETY", "==="),
        NotRun("it needs a GPU"),
        None,
        None,
    ]
    assert [block.named for block in found] == [False, False, False, False, True]
    assert found[0].line == 3
    assert PAGE[found[0].start : found[0].end] == "pytest -k memit\n"


def test_an_unknown_comment_is_refused() -> None:
    """A typo in a comment is an error that names the block, not a block that nobody runs."""
    (block,) = blocks("page", "<!-- rum in clone -->\n```bash\ntrue\n```\n")
    with pytest.raises(ValueError, match="page:2: 'rum in clone'"):
        _ = block.directive


@pytest.mark.parametrize(
    ("shown", "as_curve", "same"),
    [
        (TABLE, False, True),
        (TABLE.replace("320 deselected in 1.74s", "7 deselected in 0.01s"), False, True),
        (TABLE.replace("0.97", "0.96"), False, False),
        (TABLE.replace("0.97", "0.96"), True, True),
        (TABLE.replace("0.97", "0.80"), True, False),
        (TABLE.replace("-0.84", "0.10"), True, True),  # both are of a ruined model
        (TABLE.replace("✗", "?"), True, False),
        (TABLE.replace("1 passed", "2 passed"), False, False),
        ("\n".join(reversed(TABLE.splitlines())), False, False),
        (TABLE.replace("SAFETY: x\n", ""), True, False),
    ],
)
def test_a_block_is_compared_with_what_came_out(shown: str, as_curve: bool, same: bool) -> None:  # noqa: FBT001
    """To the digit, but for seconds and deselected tests; where it says so, as loosely as a recorded curve."""
    came = [
        line.replace("1.74", "2.5") for line in outputs.stretch(f"before\n{TABLE}\nafter", Printed("SAFETY", " ==="))
    ]
    assert (outputs.differences(f"{shown}\n", came, as_curve=as_curve) == []) is same


def test_a_renewed_page_differs_in_that_block_only() -> None:
    """The text between the fences is replaced, with placeholders, and then compares equal."""
    block = blocks("page", PAGE)[1]
    came = outputs.stretch("SAFETY: y\n=== 1 passed in 3.20s ===", Printed("SAFETY", "==="))
    page = outputs.renewed(PAGE, block, came)
    assert page == PAGE.replace("SAFETY\n===\n", "SAFETY: y\n=== 1 passed in N s ===\n")
    assert outputs.differences(blocks("page", page)[1].text, came, as_curve=False) == []


def test_the_last_line_is_that_of_the_whole_run() -> None:
    """`printed last` is the last line that is not empty."""
    (block,) = blocks("page", "<!-- printed last -->\n```text\n=== 1 passed in N s ===\n```\n")
    said = block.directive
    assert isinstance(said, Printed)
    came = outputs.stretch("=== start ===\n== 1 passed in 61.0s (0:01:01) ==\n\n", said)
    assert came == ["== 1 passed in N s =="]
    assert (
        outputs.differences(block.text, outputs.stretch(f"{'=' * 9} 1 passed in 2s {'=' * 9}", said), as_curve=False)
        == []
    )


def test_a_stretch_that_did_not_come_out_is_told() -> None:
    """A missing first or last line is an error with all that was printed."""
    for first, last in (("PASS", "==="), ("SAFETY", "PASS")):
        with pytest.raises(ValueError, match="no line begins with 'PASS' in:"):
            outputs.stretch(TABLE, Printed(first, last))


def test_a_shell_goes_on_where_it_was_and_stops_at_the_first_failure(tmp_path: Path) -> None:
    """Directories and exported variables last from block to block; Python finds what lies where it runs."""
    (tmp_path / "state").mkdir()
    shell = Shell(tmp_path, {"PATH": "/usr/local/bin:/usr/bin:/bin"}, tmp_path / "state")
    page = "\n".join(
        f"```{kind}\n{text}\n```"
        for kind, text in (
            ("bash", "mkdir 'a b'\ncd 'a b'\nexport WORD='two words'\necho 'x = 3' >own.py\nfalse | true\necho never"),
            ("bash", "pwd\necho $WORD >&2"),
        )
    )
    first, second = (shell.run(block) for block in blocks("page", page))
    assert (first.code, first.printed) == (1, "")
    assert (second.code, second.printed) == (0, f"{tmp_path / 'a b'}\ntwo words\n")
    assert shell.directory == tmp_path / "a b"
