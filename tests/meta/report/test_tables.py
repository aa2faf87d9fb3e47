"""Tables to take away: a number a field in CSV, and LaTeX that prints what the page shows."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from editgate.report.data.tables import DIGITS, DataTable, escape_latex, file_names, report_tables
from meta.report.report_cases import cell, record

BY_NAME = {table.name: table for table in report_tables(record())}
LATEX_COMMANDS = re.compile(
    r"\\(?:textbackslash|textasciitilde|textasciicircum|textbar|textless|textgreater)\{\}|\$\\(?:times|geq)\$|\\[&%$#_{}]"
)


def rows(name: str) -> list[dict[str, str]]:
    """Return a table's CSV as a spreadsheet reads it."""
    return list(csv.DictReader(io.StringIO(BY_NAME[name].csv())))


def test_numbers_stand_alone() -> None:
    """Values, bounds and scores are plain numbers, empty where there is none: no sentence shares their field."""
    found = rows("verdicts")
    assert len(found) == 10
    for row in found:
        for name in ("value", "low", "high", "floor", "before", "after", "chance"):
            assert row[name] == "" or re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?", row[name])
            assert len(row[name].replace("-", "").replace(".", "")) <= DIGITS + 1
    assert {row["standing"] for row in found} >= {"collapse", "regression", "known", "passed", "could not be evaluated"}
    (regression,) = (row for row in found if row["standing"] == "regression")
    assert (regression["value"], regression["low"], regression["high"]) == ("0.7", "0.65", "0.75")


def test_the_overview_has_a_value_and_a_standing_per_benchmark() -> None:
    """Methods down, benchmarks across, at the largest N, the best method first."""
    first, *_, last = rows("overview")
    assert (first["method and model"], first["edit budget"], first["mmlu"]) == ("rome-llama-mini", "5", "0.99")
    assert (last["method and model"], last["N"]) == ("memit-llama-mini", "10")
    assert (last["toxigen: standing"], last["gsm8k: standing"]) == ("collapse", "known")


def test_latex_shows_what_the_page_shows() -> None:
    """A tabular with as many columns as it declares, marks as math, known failures named."""
    latex = BY_NAME["overview"].latex()
    declared = len(re.findall(r"\\begin\{tabular\}\{([lr]+)\}", latex)[0])
    lines = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {declared}
    assert r"0.70 $\times$" in latex
    assert "0.50 known" in latex
    assert r"collapse $\times$" in latex


def test_a_formula_in_a_name_is_text() -> None:
    """A name that a spreadsheet would run begins with a quote."""
    table = DataTable("x", "x", ("name", "value"), (("=1+1", -0.5), ("@SUM(A1)", None)))
    assert table.csv() == "name,value\n'=1+1,-0.5\n'@SUM(A1),\n"


@given(st.text(max_size=40))
def test_latex_of_any_text_is_harmless(text: str) -> None:
    """Whatever the text: one line in which no sign acts but through the commands of the table of escapes."""
    escaped = escape_latex(text)
    assert "\n" not in escaped
    assert not set(LATEX_COMMANDS.sub("", escaped)) & set("\\&%$#_{}~^")


@given(st.lists(st.text(max_size=20), max_size=8, unique=True))
def test_file_names_are_safe_and_different(texts: list[str]) -> None:
    """Any names give as many different files of plain letters, also where capitals do not count."""
    names = file_names(texts)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in names.values())
    assert len({name.lower() for name in names.values()}) == len(texts)


def test_a_changed_checkpoint_has_no_budget() -> None:
    """Its tables have no N and no edit budget, and their first column says what it is."""
    cells = [replace(cell("mmlu", 1, 1.0), external=True, perplexity=4.0)]
    tables = {table.name: table for table in report_tables(record(cells))}
    assert "budgets" not in tables
    assert set(tables) == {"overview", "verdicts", "verdicts-memit-llama-mini", "checkpoints"}
    for table in tables.values():
        assert table.columns[0] == "changed checkpoint"
        assert not {"N", "edit budget"} & set(table.columns)
        assert {len(row) for row in table.rows} == {len(table.columns)}
