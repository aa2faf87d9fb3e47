"""Compares a block of a page with what its command printed, and renews it.

Numbers are compared to the digit. What depends on the machine is masked on both sides: seconds, the number of
deselected tests, and the bars of `=` that pytest fits to the terminal.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from editgate.pytest_run.curve_snapshot import CURVE_TOLERANCE, RUINED
from meta.docs.blocks import Block, Printed

MASKS = (
    (re.compile(r"={3,}"), "==="),
    (re.compile(r"\bin \d+(?:\.\d+)?s(?: \(\d+:\d+:\d+\))?"), "in N s"),
    (re.compile(r"\b\d+ deselected"), "N deselected"),
)
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]*\w)")


def stretch(printed: str, wanted: Printed) -> list[str]:
    """Return the masked lines from the first that begins with `wanted.first` to the next that begins with `last`.

    Without either, the last line.

    Raises:
        ValueError: There is no such line.
    """
    lines = [_masked(line) for line in printed.splitlines()]
    if not wanted.first:
        return [line for line in lines if line][-1:]
    start = next((at for at, line in enumerate(lines) if line.startswith(wanted.first)), None)
    if start is None:
        raise ValueError(f"no line begins with {wanted.first!r} in:\n{printed}")
    end = next((at for at in range(start, len(lines)) if lines[at].startswith(wanted.last)), None)
    if end is None:
        raise ValueError(f"after {wanted.first!r} no line begins with {wanted.last!r} in:\n{printed}")
    return lines[start : end + 1]


def differences(shown: str, came: Sequence[str], *, as_curve: bool) -> list[str]:
    """Return the lines that differ, shown with "-" and come out with "+"; empty if there are none.

    Args:
        shown: the page's block.
        came: what the command printed, as `stretch` gives it.
        as_curve: numbers may drift as those of a recorded curve; so may the spaces that align them.
    """
    old = [_masked(line) for line in shown.splitlines()]
    if as_curve and len(old) == len(came) and all(map(_as_good_as, old, came)):
        return []
    return [line for line in difflib.ndiff(old, list(came)) if line[0] in "-+"]


def renewed(page: str, block: Block, came: Sequence[str]) -> str:
    """Return the page with the block's text replaced by what the command printed."""
    opening = f"```{block.language}\n"
    assert opening + block.text in page, f"{block} has changed meanwhile"
    return page.replace(opening + block.text, opening + "".join(f"{line}\n" for line in came), 1)


def _masked(line: str) -> str:
    for pattern, placeholder in MASKS:
        line = pattern.sub(placeholder, line)
    return line.rstrip()


def _as_good_as(old: str, new: str) -> bool:
    """True if only numbers and spaces differ, and the numbers by no more than a curve's may."""
    words = [" ".join(NUMBER.sub("#", line).split()) for line in (old, new)]
    if words[0] != words[1]:
        return False
    pairs = zip(*([float(number) for number in NUMBER.findall(line)] for line in (old, new)), strict=True)
    return all(abs(a - b) <= CURVE_TOLERANCE * max(1.0, abs(a)) or max(a, b) < RUINED for a, b in pairs)
