"""The last screen: the answer first, 60 lines at most, the same for one method and for eleven."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from rich.text import Text

from editgate.report.conclusion import conclude
from editgate.report.markdown import markdown
from editgate.report.overview import overview
from editgate.report.terminal.screen import LINES, LastScreen
from editgate.verdict.failure_message import GROWN_NORM
from editgate.verdict.outcome import Cell, Outcome
from meta.report.many_methods import COUNTS, METHODS, RUNS, green, mixed, red, smoke
from meta.report.report_cases import NASTY, cell, memit, others, record

WORDS = {"green": "PASS", "smoke": "PASS", "red": "REGRESSION", "collapsed": "COLLAPSE", "mixed": "COLLAPSE"}
PASTED = 60  # lines that people read


def screen(cells: list[Cell], width: int = 110, **options: object) -> list[str]:
    """Return the lines of the last screen of a run with these cells."""
    conclusion = conclude(cells, allowed_by="smoke")
    return LastScreen(cells, conclusion, width=width, **options).lines()  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [40, 80, 110, 250])
@pytest.mark.parametrize("counts", [(1, 5), COUNTS])
@pytest.mark.parametrize("name", sorted(RUNS))
def test_it_fits_and_has_its_order(name: str, counts: tuple[int, ...], width: int) -> None:
    """Verdict, exit code, safety, the table, the worst, the rest: in at most 60 lines and in the terminal's width."""
    lines = screen(RUNS[name](counts), width)
    assert len(lines) <= LINES < PASTED
    assert max(map(len, lines)) <= max(min(width, 110), 80)
    text = "\n".join(lines)
    assert lines[0].startswith(f"{WORDS[name]}: 11 methods; ")
    marks = ["exit code ", "SAFETY: ", "truthful", "the largest N that holds"]
    marks += [] if name == "smoke" or (name, counts) == ("green", (1, 5)) else ["REGRESSION: "]
    marks += ["--report=DIR writes everything"]
    places = [text.index(mark, len(lines[0])) for mark in marks]
    assert places == sorted(places)
    assert all(re.search(rf"^ {method} ", text, re.MULTILINE) for method in METHODS)


def test_many_more_methods_fit_too() -> None:
    """Of fifty methods the table shows those with news first, and says how many it leaves out."""
    good = [replace(each, trajectory=f"m{number}-llama-mini") for number in range(50) for each in green()[:66]]
    bad = [replace(each, trajectory="zz-llama-mini") for each in red()[:66]]
    for width in (80, 110):
        lines = screen([*good, *bad], width)
        assert len(lines) <= LINES
        assert next(line for line in lines if line.startswith(" ") and "✗" in line).startswith(" zz")
        assert re.search(r"and \d+ more, all in the report", "\n".join(lines))


def test_known_new_and_undecided_are_marked_apart() -> None:
    """Four kinds of cells, four marks, each explained; a known failure at a small N hides no new one beyond it."""
    later = [
        replace(cell("mmlu", 1, 0.2, "regression"), fails=False, known_failure="known", reason="it fell"),
        cell("mmlu", 5, 0.1, "regression"),
    ]
    table = overview(later)
    assert table is not None
    assert (table.rows[0].cells[0].value, table.rows[0].cells[0].mark) == ("0", "✗")
    text = "\n".join(screen([*mixed(), *(replace(each, trajectory="new-llama-mini") for each in smoke(COUNTS))]))
    for mark, meaning in {
        "✗": "new failure",
        "k": "known failure",
        "?": "too few items",
        "!": "no verdict",
        "·": "too few",
    }.items():
        assert f" {mark} " in text
        assert f"; {mark} {meaning}" in " ".join(text.split())


def test_a_cell_is_the_largest_n_that_holds() -> None:
    """Up to the first failure or gap; doubt that is let through ends nothing; of one N the retention is shown."""
    allowed = replace(cell("bbh", 1, 0.9, "inconclusive"), fails=False)
    cells = [
        *(cell("mmlu", count, 1.0) for count in (1, 5)), cell("mmlu", 10, 0.2, "regression"),
        allowed, cell("bbh", 5, 1.0), cell("bbh", 10, 1.0),
        cell("gsm8k", 1, 1.0), cell("gsm8k", 10, 1.0),
    ]  # fmt: skip
    table = overview(cells)
    assert table is not None
    assert dict(zip(table.checks, [(each.value, each.mark) for each in table.rows[0].cells], strict=True)) == {
        "mmlu": ("5", "✗"),
        "bbh": ("10", "·"),
        "gsm8k": ("1", ""),
    }
    assert (table.rows[0].total.value, table.rows[0].total.mark) == ("1", "✗")
    alone = overview([cell("mmlu", 5, 0.93)])
    assert alone is not None
    assert alone.rows[0].cells[0].value == "0.93"
    assert "retention at N = 5" in alone.caption
    assert overview([Cell("x-m", "undo", 0, None, Outcome.PASS, "integrity")]) is None


def test_one_method_has_its_whole_table() -> None:
    """With a single method every N is shown, if all fits; with -v each method of several has one, before the screen."""
    one = [each for each in green() if each.trajectory.startswith("memit")]
    lines = screen(one)
    assert any(re.match(r" N edits +1 +5 +10 +20 +50 +100$", line) for line in lines)
    assert lines[0].startswith("PASS: 1 method; ")
    assert len(lines) <= LINES
    every = screen(green(), verbose=True)
    assert sum(line.startswith(" N edits") for line in every) == len(METHODS)
    assert next(i for i, line in enumerate(every) if line.startswith("PASS")) >= len(every) - PASTED


def test_a_changed_checkpoint_has_no_n() -> None:
    """No word of N, edits and budget where the model was changed elsewhere."""
    cells = [replace(each, external=True) for each in [*memit(), *others()] if each.edits in {0, 10}]
    for text in ("\n".join(screen(cells[:5])), markdown(record(cells))):
        assert not re.search(r"\bN\b|edits?\b|budget", text.replace("edits counterfact", ""))


def test_colors_are_for_terminals() -> None:
    """With colors the text is the same, known failures are dim and new ones bold red; without there is no escape."""
    cells = mixed()
    colored = LastScreen(cells, conclude(cells), color=True).lines()
    plain = LastScreen(cells, conclude(cells)).lines()
    assert [Text.from_ansi(line).plain.rstrip() for line in colored] == plain
    assert "\x1b" not in "".join(plain)
    assert any("\x1b[1;31m" in line and "✗" in line for line in colored)
    assert any("\x1b[2m" in line and " k" in line for line in colored)
    assert colored[0].startswith("\x1b[1;31mCOLLAPSE")
    passed = green()
    assert LastScreen(passed, conclude(passed), color=True).lines()[0].startswith("\x1b[1;32mPASS")


@pytest.mark.parametrize("name", sorted(RUNS))
def test_the_step_summary_has_the_same_order(name: str) -> None:
    """Before the fold: verdict, exit code, safety, table and the worst, in at most 60 lines; after it everything."""
    report = record(RUNS[name]())
    before, _, rest = markdown(report).partition("<details>")
    assert before.count("\n") <= PASTED
    marks = [f"# {WORDS[name]}: 11 methods", "exit code", "**SAFETY", "| | truthfulqa |", "A cell is the largest N"]
    places = [before.index(mark) for mark in marks]
    assert places == sorted(places)
    assert ("The worst:" in before) == (name != "smoke")
    assert rest.count("### ") == len(METHODS)
    assert rest.rstrip().endswith("</details>")


def test_what_is_printed_acts_on_nothing() -> None:
    """Names, reasons and answers with escape sequences, commands and markup reach screen and Markdown as text."""
    evil = "m\n::error title=pwn::\x1b[2J\u202e##[error]|`<b>" + NASTY
    cells = [
        replace(each, trajectory=f"rome-{evil}", reason=evil, collapse=evil if each.collapse else "",
                label_distribution=evil, diagnostics={evil: 1.0})
        for each in memit()
    ]  # fmt: skip
    both = [*cells, *(replace(each, trajectory=f"kn-{evil}") for each in cells)]
    for found in (cells, both):
        lines = screen(found, verbose=True, written=f"report: {evil}", changes=[evil])
        assert all(line.isprintable() for line in lines)
        text = "\n".join(lines)
        assert "##[" not in text
        assert not re.search(r"^\s*::", text, re.MULTILINE)
        pasted = markdown(record(found, stopped=evil))
        assert all(line.isprintable() for line in pasted.split("\n"))
        assert "<b>" not in pasted.replace("\\<b", "")
        assert not re.search(r"^\s*::|##\[", pasted, re.MULTILINE)


def test_a_grown_norm_is_explained_where_it_is_shown() -> None:
    """Below the table of a method and above that of the norms one sentence says what a large factor means."""
    grown = [replace(each, norm_ratio={"w": 1755.0}) for each in memit()]
    small = [replace(each, norm_ratio={"w": 1.2}) for each in memit()]
    for cells, wanted in ((grown, 1), (small, 0)):
        assert " ".join(" ".join(screen(cells)).split()).count(GROWN_NORM) == wanted
        assert markdown(record(cells)).count(GROWN_NORM) == wanted


def test_layers_are_listed_in_their_order() -> None:
    """Layer 10 comes after layer 2, whatever order they were measured in."""
    moved = {"layer 3": 0.1, "layer 10": 0.1, "layer 2": 0.1, "lm_head": 0.2, "layer 0": 0.1}
    text = "\n".join(screen([replace(cell("mmlu", 1, 1.0), external=True, diagnostics=moved)]))
    assert "layer 0 0.1, layer 2 0.1, layer 3 0.1, layer 10 0.1, lm_head 0.2" in text
