"""Every table of the report as CSV, numbers in fields of their own, and as LaTeX for a paper."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from editgate import inert
from editgate.report.conclusion import standing
from editgate.report.data.overview import Field, field_of, overview
from editgate.report.presentation import AREAS, NOTHING
from editgate.report.run_report import RunReport
from editgate.report.trajectory_summary import by_trajectory, checks_in_order
from editgate.verdict.outcome import Cell

Value = str | int | float | None
DIGITS = 6  # of a number in a CSV, significant ones
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with these a spreadsheet's program begins
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "✗": r"$\times$", "≥": r"$\geq$", "–": "--",
    "|": r"\textbar{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip
VERDICT_COLUMNS = (
    "method and model", "benchmark", "area", "N", "value", "low", "high", "floor", "standing", "before", "after",
    "chance", "items", "items that got worse",
)  # fmt: skip


@dataclass(frozen=True)
class DataTable:
    """A table to take away.

    Attributes:
        name: of its files, without an ending.
        title: what it shows.
        columns: the heads of the CSV.
        rows: its fields; a number stands alone.
        shown: heads and rows as the page shows them, for LaTeX; None: those of the CSV.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    shown: tuple[tuple[str, ...], ...] | None = None

    def csv(self) -> str:
        """Return the table as a spreadsheet reads it; a text that would be a formula there begins with a quote."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([_csv_field(name) for name in self.columns])
        writer.writerows([_csv_field(value) for value in row] for row in self.rows)
        return out.getvalue()

    def latex(self) -> str:
        """Return the table for a document that uses the package booktabs."""
        head, *body = self.shown or (self.columns, *(tuple(map(_latex_number, row)) for row in self.rows))
        lines = [" & ".join(map(escape_latex, row)) + r" \\" for row in (head, *body)]
        return "\n".join([
            f"% {' '.join(self.title.split())}; needs \\usepackage{{booktabs}}",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule",
            r"\end{tabular}", "",
        ])  # fmt: skip


def report_tables(report: RunReport) -> list[DataTable]:
    """Return the tables of the page that are not beside a chart."""
    judged = [cell for cell in report.cells if cell.area in AREAS]
    external = any(cell.external for cell in judged)
    names = file_names(by_trajectory(judged))
    found = [_overview(report, external=external), _verdicts("verdicts", "All verdicts", judged)]
    found += [
        _verdicts(f"verdicts-{names[trajectory]}", f"Verdicts of {trajectory}", cells, shown=_shown_verdicts(cells))
        for trajectory, cells in by_trajectory(judged).items()
    ]
    found += [] if external else [_budgets(report)]
    found += [_checkpoints(judged)]
    return [_without_edits(table) if external else table for table in found if table.rows]


def file_names(texts: Iterable[str]) -> dict[str, str]:
    """Return a name of letters, digits, `-` and `_` for each text; no two are the same."""
    names: dict[str, str] = {}
    for text in texts:
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:80] or "x"
        taken = {name.lower() for name in names.values()}
        free = (name for name in (plain, *(f"{plain}-{number}" for number in range(2, 10_000))))
        names[text] = next(name for name in free if name.lower() not in taken)
    return names


def escape_latex(text: str) -> str:
    """Return a text as one line that LaTeX prints as it stands."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return "".join(LATEX.get(sign, sign) for sign in line)


def _without_edits(table: DataTable) -> DataTable:
    """Return the table of a model that was changed elsewhere: there is no N, and no method."""
    if "N" not in table.columns:
        return table
    at = table.columns.index("N")
    columns, *rows = ((*row[:at], *row[at + 1 :]) for row in (table.columns, *table.rows))
    return replace(table, columns=("changed checkpoint", *map(str, columns[1:])), rows=tuple(rows))


def _overview(report: RunReport, *, external: bool) -> DataTable:
    table = overview(report)
    first = ("changed checkpoint",) if external else ("method and model", "N", "edit budget")
    columns = [*first, *(name for check in table.checks for name in (check, f"{check}: standing"))]
    rows, shown = [], [(*first, *table.checks)]
    for row in table.rows:
        budget = row.budget.removeprefix("≥ ").replace(NOTHING, "")
        known = (row.trajectory,) if external else (row.trajectory, row.edits, budget)
        rows.append((*known, *(value for field in row.fields for value in _value_and_standing(field))))
        named = (row.name,) if external else (row.name, str(row.edits), row.budget)
        shown.append((*named, *(_marked(field) for field in row.fields)))
    title = "The changed checkpoint" if external else "Retention, and share for the qualities, at the largest N"
    return DataTable("overview", title, tuple(columns), tuple(rows), tuple(shown))


def _value_and_standing(field: Field) -> tuple[Value, Value]:
    return (None, None) if field.cell is None else (field.cell.value, standing(field.cell).value)


def _marked(field: Field) -> str:
    return f"{field.value} {field.mark}".strip()


def _verdicts(
    name: str, title: str, cells: Sequence[Cell], shown: tuple[tuple[str, ...], ...] | None = None
) -> DataTable:
    rows = tuple(
        (cell.trajectory, cell.check, cell.area, cell.edits, cell.value, cell.low, cell.high, cell.floor,
         standing(cell).value, cell.before, cell.after, cell.chance, cell.items, cell.flipped)
        for cell in sorted(cells, key=lambda each: (each.trajectory, AREAS.index(each.area), each.edits, each.check))
    )  # fmt: skip
    return DataTable(name, title, VERDICT_COLUMNS, rows, shown)


def _shown_verdicts(cells: Sequence[Cell]) -> tuple[tuple[str, ...], ...]:
    counts = sorted({cell.edits for cell in cells})
    by_key = {(cell.check, cell.edits): cell for cell in cells}
    heads = ["retention"] if any(cell.external for cell in cells) else [str(count) for count in counts]
    checks = [check for area in AREAS for check in checks_in_order(cell for cell in cells if cell.area == area)]
    rows = [[check, *(_marked(field_of(by_key.get((check, count)))) for count in counts)] for check in checks]
    return tuple(map(tuple, [["benchmark" if heads == ["retention"] else "N edits", *heads], *rows]))


def _budgets(report: RunReport) -> DataTable:
    columns = ("method and model", "edit budget", "nothing failed up to it", "fails at", "what fails there")
    rows = tuple(
        (each.trajectory, each.budget, "yes" if each.failed_at is None else "no", each.failed_at, each.ended_by)
        for each in report.budgets
    )
    return DataTable("budgets", "Edit budgets", columns, rows)


def _checkpoints(cells: Sequence[Cell]) -> DataTable:
    columns = (
        "method and model", "N", "perplexity", "perplexity before", "weight whose norm changed most",
        "its norm after / before",
    )  # fmt: skip
    return DataTable("checkpoints", "Perplexity and weight norms", columns, tuple(_checkpoint_rows(cells)))


def _checkpoint_rows(cells: Sequence[Cell]) -> Iterator[tuple[Value, ...]]:
    """Yield one row per trajectory and N that has either number: cells of a checkpoint agree, but not each has both."""
    found: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        found.setdefault((cell.trajectory, cell.edits), []).append(cell)
    for (trajectory, edits), at in sorted(found.items()):
        perplexity = next((cell for cell in at if cell.perplexity is not None), None)
        moved = next((next(iter(cell.norm_ratio.items())) for cell in at if cell.norm_ratio), (None, None))
        if perplexity is not None or moved[0] is not None:
            before_after = (perplexity.perplexity, perplexity.perplexity_before) if perplexity else (None, None)
            yield (trajectory, edits, *before_after, *moved)


def _csv_field(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        text = inert.html(value)
        return f"'{text}" if text.startswith(FORMULA) else text
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)


def _latex_number(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 100 else f"{value:.4g}"
    return "" if value is None else str(value)
