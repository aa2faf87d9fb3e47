"""The table of methods: what it measures, how it is ordered, and that it replaces nothing but itself in a page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from editgate import methods_table
from editgate.errors import ConfigError
from editgate.methods_table import BEGIN, END, Failed, Page, Row, plan, readable, render
from editgate.options.options import Options
from meta.support.settings_factory import settings

SMALL = ["--model=pythia-mini-s", "--edit-counts=2", "--benchmarks=mmlu,toxigen", "--limit=12"]


def _row(editor: str, efficacy: float, **retention: float) -> Row:
    return Row(editor, 1, {"efficacy": efficacy, "locality": 1.0}, {"mmlu": 0.9, **retention}, 0.25, 1_250_000)


def test_the_method_whose_weakest_number_is_best_stands_first(tmp_path: Path) -> None:
    """Neither a perfect efficacy nor a perfect mean makes up for one bad number; what has none stands below."""
    rows: list[Row | Failed] = [
        _row("fragile", 1.0, toxigen=0.1),
        Failed("broken", 1, "NoEffect: nothing"),
        _row("even", 0.8, toxigen=0.8),
        _row("void", 0.0, toxigen=1.0),
    ]
    shown = render(rows, "COMMAND", settings(tmp_path, edit_counts="5")).splitlines()
    assert [line.split("`")[1] for line in shown if line.startswith("| `")] == ["even", "fragile", "void"]
    assert "| `fragile` | 1 | 1.00 | – | 1.00 | 0.50 | 0.10 (toxigen) | 0.25 | 1.25 MB |" in shown
    assert shown[-1] == "- `broken` at B = 1 has no numbers. NoEffect: nothing"
    assert shown[0].startswith("`COMMAND`: llama-mini after 5 edits of counterfact")


def test_bytes_are_shown_in_a_unit_that_fits() -> None:
    """Of 0, 999, 1000 and a large number of bytes none is shown with more than three digits."""
    assert [readable(size) for size in (0, 999, 1000, 4 * 10**12)] == ["0 B", "999 B", "1 kB", "4e+03 GB"]


@pytest.mark.parametrize(
    ("changes", "methods", "sizes", "says"),
    [
        ({"edit_counts": "1,5"}, [], None, "the table is of one N"),
        ({"edit_counts": "5"}, [], "1,6", "different numbers from 1 to N = 5"),
        ({"edit_counts": "5"}, [], "1,one", "different numbers from 1 to N = 5"),
        ({"edit_counts": "5"}, [], "2,2", "different numbers from 1 to N = 5"),
        ({"edit_counts": "5"}, ["grace", "kn"], "5", "grace, kn take one edit at a time"),
        ({"edit_counts": "5"}, ["nobody"], None, "nobody"),
    ],
)
def test_what_the_table_cannot_show_is_refused(
    changes: dict[str, Any], methods: list[str], sizes: str | None, says: str
) -> None:
    """Several Ns, a batch larger than N, no method that takes it: each in one sentence, before a model is loaded."""
    with pytest.raises(ConfigError, match=re.escape(says)):
        plan(Options.of(changes), methods, sizes)


def test_by_default_edits_come_one_at_a_time_and_all_at_once() -> None:
    """N = 5 is measured at B = 1 and B = 5, at 5 with the methods that take batches alone."""
    single, whole = plan(Options.of({"edit_counts": "5"}), ["grace", "memit"], None)
    assert (single.batch_size, single.chosen_editors) == (1, frozenset({"grace", "memit"}))
    assert (whole.batch_size, whole.chosen_editors) == (5, frozenset({"memit"}))


def test_a_page_keeps_everything_but_its_table(tmp_path: Path) -> None:
    """What stands between the marks is replaced, as often as one likes, and nothing else."""
    file = tmp_path / "page.md"
    file.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n", encoding="utf-8")
    for table in ("first\n", "second\n"):
        Page.read(file).write(table)
    assert file.read_text(encoding="utf-8") == f"above\n{BEGIN}\n\nsecond\n\n{END}\nbelow\n"


@pytest.mark.parametrize("text", ["nothing", f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}", f"{BEGIN}{END}{END}", None])
def test_a_page_without_a_place_is_refused_first(
    text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page without both marks, once each, or no page, is a usage error before anything is measured."""
    file = tmp_path / "page.md"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        methods_table.main([f"--into={file}"])
    assert stopped.value.code == 2
    assert f"--into {file}" in capsys.readouterr().err


def test_the_table_comes_out_of_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """FT-L one at a time and in a batch, GRACE one at a time: the numbers are the gate's, and the page has them."""
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    methods_table.main(["ftl", "grace", *SMALL, f"--store={tmp_path / 'store'}", f"--into={page}"])
    shown = capsys.readouterr().out
    rows = [line.split(" | ") for line in shown.splitlines() if line.startswith("| `")]
    assert sorted((row[0], row[1]) for row in rows) == [("| `ftl`", "1"), ("| `ftl`", "2"), ("| `grace`", "1")]
    assert all(float(row[7]) > 0 and not row[8].startswith("0 ") for row in rows)
    grace = next(row for row in rows if "grace" in row[0])
    assert (grace[2], grace[4], grace[5]) == ("1.00", "1.00", "1.00")
    assert shown in page.read_text(encoding="utf-8")
    command = shown.partition("`: ")[0]
    assert command == f"`python -m editgate.methods_table ftl grace {' '.join(SMALL)}"
