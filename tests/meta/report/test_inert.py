"""Whatever a name, prompt or answer holds: it is shown, and it acts on nothing that it is printed to."""

from __future__ import annotations

import re
import subprocess
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Environment
from markdown_it import MarkdownIt

from editgate import inert

PIECES = [
    "::error title=pwn::", "##[error]", "::add-mask::", "\n", "\r", "\x1b[2J", "\x1b]0;owned\x07", "\x9b31m",
    "\u202e", "\u2066", "\u2028", "\x85", "\x00", "\ud800", "|", "`", "```", "<b>", "</pre>", "&lt;",
    "[a](http://b)", "https://c.de", "www.d.de", "**", "__", "# ", "- ", "1. ", "$x$", "'", '"', "\\", "%0A", ",",
    ":", " ", "a", "word", "\t", "~~~", "é", "漢", "x" * 300,
]  # fmt: skip
nasty = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
MAX = 200  # examples of each property: together they take less than two seconds


def acts(text: str) -> list[str]:
    """Return the signs that do something instead of being shown."""
    return [sign for sign in text if unicodedata.category(sign) in {"Cc", "Cs", "Zl", "Zp"} or sign in "\u202e\u2066"]


@settings(max_examples=MAX)
@given(nasty)
def test_a_terminal_shows_it_in_one_line(text: str) -> None:
    """No control sign, no line break, no workflow command, however it is wrapped; and it is not endless."""
    shown = inert.terminal(text)
    assert not acts(shown)
    assert "::" not in shown
    assert "##[" not in shown
    assert len(shown) <= inert.LONG


@settings(max_examples=MAX)
@given(nasty)
def test_lines_stay_lines(text: str) -> None:
    """A text of several lines keeps them, and none of them acts."""
    shown = inert.lines(text)
    assert shown.count("\n") == text.count("\n")
    assert not acts(shown.replace("\n", ""))
    assert "::" not in shown
    assert "##[" not in shown


@settings(max_examples=MAX)
@given(nasty)
def test_markdown_shows_what_a_terminal_shows(text: str) -> None:
    """In a list, a table and a paragraph the text is plain text: no markup, link, cell or HTML comes of it."""
    reader = MarkdownIt("gfm-like", {"linkify": False})
    for before, after in (("", ""), ("- ", ""), ("| a | b |\n|---|---|\n| ", " | c |")):
        tokens = reader.parse(f"{before}{inert.markdown(text)}{after}")
        inline = [token for token in tokens if token.type == "inline"]
        children = [child for token in inline for child in token.children or []]
        assert {child.type for child in children} <= {"text", "text_special"}
        shown = "".join(child.content for token in inline[-2 if after else 0 :][:1] for child in token.children or [])
        assert shown == inert.terminal(text).strip()
        kinds = {token.type for token in tokens if token.type.endswith("_open")}
        assert kinds <= {
            f"{kind}_open" for kind in "paragraph bullet_list list_item table thead tbody tr th td".split()
        }
        assert sum(token.type == "td_open" for token in tokens) == (2 if after else 0)


def test_addresses_are_no_links() -> None:
    """What GitHub would turn into a link by itself is broken up where the reader does not see it."""
    assert inert.markdown("https://a.b www.c.d") == r"https:\//a.b www\.c.d"


@settings(max_examples=MAX)
@given(nasty)
def test_a_block_of_markdown_ends_where_it_should(text: str) -> None:
    """No run of backticks in the text ends the block that it stands in."""
    (fence,) = MarkdownIt().parse(inert.markdown_block(text))
    assert fence.type == "fence"
    assert fence.content == inert.lines(text) + "\n"


@settings(max_examples=MAX)
@given(nasty)
def test_a_page_shows_it(text: str) -> None:
    """After jinja's escaping there is no tag, no entity of the text's own, and no sign that a reader cannot see."""
    shown = Environment(autoescape=True).from_string("{{ text }}").render(text=inert.html(text))
    assert not acts(re.sub(r"[\n\t]", "", shown))
    assert not set(shown) & {"<", ">", '"', "'"}


@settings(max_examples=MAX)
@given(nasty, nasty)
def test_an_annotation_is_one_command(title: str, message: str) -> None:
    """GitHub reads one command with one property, whatever stands in the title or the message."""
    command = inert.workflow_command("warning", title, message)
    assert not acts(command)
    properties, _, said = command.removeprefix("::warning ").partition("::")
    assert re.fullmatch(r"title=[^:,]*", properties)
    assert unescaped(properties.removeprefix("title=")) == inert.terminal(title)
    assert "::" not in unescaped(said)


def unescaped(text: str) -> str:
    """Return what GitHub makes of an escaped text."""
    for code, sign in {"%3A": ":", "%2C": ",", "%0D": "\r", "%0A": "\n", "%25": "%"}.items():
        text = text.replace(code, sign)
    return text


@settings(max_examples=5)
@given(st.lists(nasty, max_size=40))
def test_a_shell_reads_what_was_meant(texts: list[str]) -> None:
    """Pasted into bash, an argument is what it was, and on the screen it is one line without control signs."""
    texts = [text for text in texts if "\0" not in text and text.encode("utf-8", "replace").decode() == text]
    quoted = [inert.shell(text) for text in texts]
    assert not acts("".join(quoted))
    assert not any(line.startswith("::") or "##[" in line for line in quoted)
    script = "printf '%s\\0' " + " ".join(quoted)
    done = subprocess.run(  # noqa: S603
        ["/bin/bash", "-c", script], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert done.stdout.decode().split("\0")[:-1] == (texts or [""])


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("llama-mini", "llama-mini"),
        ("tests/a.py::test_b[c-n1]", "'tests/a.py::test_b[c-n1]'"),
        ("it's", "'it'\"'\"'s'"),
        ("a\n::error title=pwn::\x1b[2J", r"$'a\n::error title=pwn::\x1b[2J'"),
    ],
)
def test_only_what_acts_is_written_as_escapes(text: str, quoted: str) -> None:
    """Ordinary arguments and the ids of tests look as usual."""
    assert inert.shell(text) == quoted
