"""The page: what it says first, what it leaves out, and what it is without matplotlib or edits."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from editgate.report.conclusion import conclude
from editgate.report.html.page import ITEMS_OF_A_CELL, ITEMS_OF_A_PAGE, figure_files, page, tone
from editgate.report.writer import FILES, write
from editgate.verdict.outcome import Cell, Flip
from meta.report.report_cases import SUBJECT, cell, collected, memit, others, record

KNOWN = replace(cell("gsm8k", 10, 0.1, "regression"), known_failure="It is known to fail.", reason="REGRESSION: fell")
COLLAPSED = replace(cell("toxigen", 10, 1.2, "regression", "safety"), collapse="'No' on 97% of the items")


def flipped(check: str, count: int, trajectory: str = "memit-llama-mini") -> Cell:
    """Return a cell with so many items that got worse."""
    flips = tuple(Flip(f"question {number} of {check}", "right", "right", "wrong") for number in range(count))
    return replace(cell(check, 10, 0.5, "regression"), flips=flips, flipped=count, trajectory=trajectory)


def headline(text: str) -> tuple[str, str]:
    """Return the headline's looks and its word."""
    looks, word = re.findall(r'<h1 class="verdict (\w+)"><strong>([^<]+)</strong>', text)[0]
    return looks, word


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        ([cell("mmlu", 1, 1.0)], ("good", "PASS")),
        ([cell("mmlu", 1, 1.0), KNOWN], ("known", "PASS")),
        ([cell("mmlu", 1, 1.0), replace(COLLAPSED, known_failure="known", reason="COLLAPSE: x")], ("known", "PASS")),
        ([cell("mmlu", 1, 1.0), replace(cell("bbh", 1, 0.9, "inconclusive"), fails=False)], ("known", "PASS")),
        ([cell("mmlu", 1, 1.0), COLLAPSED], ("bad", "COLLAPSE")),
        ([cell("mmlu", 1, 0.1, "regression"), KNOWN], ("bad", "REGRESSION")),
        (others(), ("bad", "COULD NOT EVALUATE")),
        ([cell("bbh", 1, 0.9, "inconclusive")], ("bad", "INCONCLUSIVE")),
        ([], ("known", "NOTHING JUDGED")),
    ],
)
def test_the_headline_is_green_over_nothing_but_passes(cells: list[Cell], wanted: tuple[str, str]) -> None:
    """Red for whatever makes the run red, amber where something fails on record or is undecided, green else."""
    assert headline(page(record(cells))) == wanted


def test_no_run_that_fails_is_green() -> None:
    """Passing verdicts beside an exit code other than 0 are not a pass, nor do they look like one."""
    assert tone(conclude([cell("mmlu", 1, 1.0)], exit_code=1)) == "bad"
    assert tone(conclude([cell("mmlu", 1, 1.0)], ended="interrupted")) == "bad"


def test_safety_is_red_whatever_else_passes() -> None:
    """A new safety failure colors its box red, one on record amber; neither is green."""
    boxes = [
        re.findall(r'<div class="safety (\w+)">', page(record(cells)))
        for cells in (
            [COLLAPSED, cell("mmlu", 1, 1.0)],
            [replace(COLLAPSED, known_failure="known", reason="COLLAPSE: x")],
            [cell("toxigen", 1, 1.0, "pass", "safety")],
        )
    ]
    assert boxes == [["bad"], ["known"], ["good"]]


def test_a_pass_on_record_is_not_called_a_known_failure() -> None:
    """`known` stands beside what fails and is on record; what held although a limit is on record is a plain pass."""
    held = replace(cell("bbh", 10, 0.99), known_failure="It fails in some orders.")
    text = page(record([held, KNOWN]))
    fields = re.findall(r"<td[^>]*>(0\.\d\d)(?: <span class=\"mark\">([^<]+)</span>)?", text)
    assert ("0.99", "") in fields
    assert ("0.10", "known") in fields
    assert ("0.99", "known") not in fields


def test_a_changed_checkpoint_has_no_edits() -> None:
    """A model that was changed elsewhere is judged without a word of N, budgets or edits that were applied here."""
    cells = [
        replace(each, external=True, norm_ratio={"model.layers.0.w": 1755.0})
        for each in (cell("toxigen", 1, 1.0, "pass", "safety"), flipped("mmlu", 3))
        for each in [replace(each, trajectory="merged-llama-mini", edits=1)]
    ]
    text = page(record(cells))
    seen = re.sub(r"<(style|script)>.*?</\1>|<head>.*?</head>", "", text, flags=re.DOTALL)
    assert "merged-llama-mini" in seen
    assert "merged-llama-mini: mmlu" in seen
    assert re.findall(r"\bN\b|[Bb]udget|after 1 edit|edits applied", seen.replace(SUBJECT.command, "")) == []
    assert "not yet damage" in seen
    assert figure_files(record(cells)) == {}


def test_the_page_stays_small_and_the_file_has_all(tmp_path: Path) -> None:
    """Of 6,000 items the page shows a stated few per verdict; items.jsonl has every one."""
    checks = ("mmlu", "bbh", "gsm8k", "triviaqa")
    cells = [flipped(check, 500, f"method{index}-llama-mini") for index in range(3) for check in checks]
    written = write(record(cells), tmp_path)
    text = written.read_text(encoding="utf-8")
    rows = len(re.findall(r"<td>question \d+ of", text))
    assert rows == 12 * ITEMS_OF_A_CELL <= ITEMS_OF_A_PAGE
    assert f"here are at most {ITEMS_OF_A_CELL} of each verdict" in text
    assert (tmp_path / "items.jsonl").read_text(encoding="utf-8").count("\n") == 6000
    assert written.stat().st_size < 1_000_000


def test_every_link_leads_to_a_file(tmp_path: Path) -> None:
    """Each figure and table that the page offers lies beside it, and nothing lies there that is not offered."""
    text = write(record([flipped("mmlu", 2)]), tmp_path).read_text(encoding="utf-8")
    links = set(re.findall(r'href="([^"#]+)"', text))
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files - {"report.html", ".editgate-files"} == links
    assert {link.rpartition(".")[2] for link in links} == {"svg", "png", "csv", "tex", "json", "jsonl", "md"}


def test_a_second_report_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    """Figures of benchmarks that this run did not ask go; a person's own figure stays."""
    write(record([cell("bbh", 1, 1.0)]), tmp_path)
    (tmp_path / "figures" / "own.svg").touch()
    write(record([cell("mmlu", 1, 1.0)]), tmp_path)
    left = {path.name for path in (tmp_path / "figures").iterdir()}
    assert left == {"own.svg", "mmlu.svg", "mmlu.png", "mmlu.csv", "mmlu.tex"}


def test_without_matplotlib_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report is whole but for its figures: the page says why, every number is there, and no link is dead."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("editgate.report.html.figures", "editgate.report.html.drawing"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    text = write(record(), tmp_path).read_text(encoding="utf-8")
    assert "no figures, because matplotlib is not installed" in text
    assert "<svg" not in text
    assert all((tmp_path / name).is_file() for name in FILES)
    assert all((tmp_path / link).is_file() for link in re.findall(r'href="([^"#]+)"', text))
    assert (tmp_path / "figures" / "mmlu.csv").read_text(encoding="utf-8").startswith("method and model,N,value,")


def test_what_others_wrote_is_text() -> None:
    """Escapes, signs that turn the reading direction, and tags in names and answers are shown, not obeyed."""
    nasty = "\x1b[2J\u202e</script><script>alert(1)</script>"
    flip = Flip(nasty, nasty, nasty, nasty)
    bad = replace(flipped("mmlu", 1), trajectory=f"x{nasty}-m", flips=(flip,), reason=nasty)
    text = page(record([bad]))
    assert text.count("<script>") == 1
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert r"\x1b[2J\u202e&lt;/script&gt;" in text


def test_the_commit_is_named() -> None:
    """The page says which commit was judged, and that files were changed."""
    report = record(memit()).model_copy(update={"commit": "0123456789ab+"})
    assert "commit <code>0123456789ab+</code> with changes" in page(report)
    assert "commit <code>" not in page(report.model_copy(update={"commit": ""}))
    assert collected([]).cells == []
