r"""Makes what others wrote harmless where it is printed: names, prompts, answers, reasons.

A model's name or answer may hold escape sequences, marks that turn the reading direction, GitHub's workflow commands
(`::error`, and `##[error]` anywhere in a line) or Markdown. Each place has one function here: `terminal`, `markdown`,
`html`, `workflow_command` and, for a command that a person pastes, `shell`. What would act is written as an escape such
as `\x1b`, so that it can still be read.
"""

from __future__ import annotations

import re
import shlex
import unicodedata

ACTING = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}  # control, format, private use, lone surrogates, line separators
JOINERS = "\u200c\u200d"  # of Persian words and of emoji: they act on their neighbors' shape alone
COMMAND = re.compile(r"(?<=:):|(?<=##)\[")  # what makes `::` and `##[` of a line a workflow command
QUOTED_COMMAND = re.compile(r"(?<=^:):|(?<=##)\[")  # an argument of a command begins a line only if it is all of it
MARKDOWN = re.compile(r"[\\`*_\[\]<>#|~&$]|(?<=:)/(?=/)|(?<=www)\.|^[-+=]")  # emphasis, links, tables, HTML, math
NUMBER = re.compile(r"^(\d+)([.)])")  # begins a numbered list
LONG = 500  # characters of one text where a caller sets no other limit


def terminal(text: str, limit: int = LONG) -> str:
    """Return one line of at most `limit` characters that does nothing to a terminal, nor in a log of GitHub."""
    return _shortened(_disarmed(" ".join(text.split())), limit)


def lines(text: str) -> str:
    """Return a text of several lines, each of them harmless as by `terminal`, none shortened."""
    return "\n".join(_disarmed(line.replace("\t", "    ")) for line in text.split("\n"))


def markdown(text: str, limit: int = LONG) -> str:
    """Return one line that Markdown, also in a cell of a table, shows as it is."""
    return NUMBER.sub(r"\1\\\2", MARKDOWN.sub(r"\\\g<0>", terminal(text, limit)))


def markdown_block(text: str) -> str:
    """Return a fenced block of several lines whose fence the text cannot end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{lines(text)}\n{fence}"


def html(text: str) -> str:
    """Return a text without signs that a reader cannot see; what HTML means by `<` and `&` is jinja's to escape."""
    return "".join(sign if sign in "\n\t" else _visible(sign) for sign in text)


def workflow_command(kind: str, title: str, message: str, limit: int = LONG) -> str:
    """Return the line that makes GitHub show an annotation of this kind: error, warning or notice."""
    name = terminal(title, limit).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
    said = "\n".join(_disarmed(line) for line in _shortened(message, limit).splitlines())
    return f"::{kind} title={name}::{said.replace('%', '%25').replace(chr(10), '%0A')}"


def shell(argument: str) -> str:
    r"""Return an argument quoted for a shell; one that would act is written as bash reads it, `$'a\nb'`."""
    body = argument.replace("\\", "\\\\").replace("'", "\\'")
    disarmed = QUOTED_COMMAND.sub(_escape, "".join(map(_bash, body)))
    return shlex.quote(argument) if disarmed == body else f"$'{disarmed}'"


def _disarmed(line: str) -> str:
    return COMMAND.sub(_escape, "".join(map(_visible, line)))


def _visible(sign: str) -> str:
    acts = unicodedata.category(sign) in ACTING and sign not in JOINERS
    return sign.encode("unicode_escape").decode("ascii") if acts else sign


def _bash(sign: str) -> str:
    """One sign between `$'` and `'`; beyond ASCII byte by byte, which does not depend on the reader's locale."""
    if sign.isascii() or _visible(sign) == sign:
        return _visible(sign)
    errors = "surrogateescape" if "\udc80" <= sign <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in sign.encode("utf-8", errors))


def _escape(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"
