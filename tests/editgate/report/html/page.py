"""The page: one HTML file that needs no network; its figures and tables lie beside it as files, too."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from editgate.report.conclusion import NEW, Conclusion, Result, Standing, standing
from editgate.report.data.overview import Field, field_of, overview
from editgate.report.data.tables import file_names
from editgate.report.html import charts
from editgate.report.html.charts import Chart
from editgate.report.html.looks import style_sheet
from editgate.report.presentation import AREA_ORDER, AREAS, Presentation, present
from editgate.report.run_report import RunReport
from editgate.report.safety import safety_phrases
from editgate.report.templates import PAGE, environment
from editgate.report.trajectory_summary import by_trajectory, checks_in_order
from editgate.verdict.failure_message import GROWN
from editgate.verdict.outcome import Cell, Outcome

MANY = 3  # methods: with more, each method's own table is folded
PHRASES = 3  # about safety, before the rest is folded
CHANGES = 5  # since the earlier report, before the rest is folded
SHOWN = 10  # failures of a kind, before the rest is folded
ITEMS_OF_A_CELL, ITEMS_OF_A_PAGE = 25, 2000  # in the page; items.jsonl has all
FEWEST_ITEMS = 3  # of a cell, however many cells there are


@dataclass(frozen=True)
class VerdictTable:
    """One method's verdicts: a row per check, a column per N; `file` is its name in the folder of tables."""

    trajectory: str
    file: str
    counts: tuple[int, ...]
    rows: tuple[tuple[str, str, tuple[Field, ...]], ...]  # area, check, fields
    rules_broken: tuple[str, ...]


def page(report: RunReport) -> str:
    """Return `report.html`."""
    cells = [cell for cell in report.cells if cell.area in AREAS]
    external = any(cell.external for cell in cells)
    curves, along = ([], []) if external else (charts.retention_charts(cells), charts.checkpoint_charts(cells))
    draw = _drawing()
    script = (PAGE / "filter.js").read_text(encoding="utf-8")
    shown, groups = present(report), item_groups(cells)
    anchors = file_names(by_trajectory(cells))
    items = file_names(f"{cell.trajectory}-{cell.check}-{cell.edits}" for cell in cells if cell.flips)
    context = {
        "report": report,
        "shown": shown,
        "regressions": worst_first(shown.regressions),
        "contents": _contents(report, shown, charts=len(curves), along=bool(along or external), items=len(groups)),
        "anchors": anchors,
        "item_anchor": lambda cell: items[f"{cell.trajectory}-{cell.check}-{cell.edits}"],
        "why_norms_grow": charts.WHY_NORMS_GROW,
        "large_norm": GROWN,
        "tone": tone(report.conclusion),
        "safety_tone": _safety_tone(report),
        "safety": safety_phrases(report.cells),
        "overview": overview(report),
        "moved": _moved(cells) if external else {},
        "external": external,
        "curves": curves,
        "along": along,
        "draw": draw,
        "tables": _verdict_tables(report, cells),
        "groups": groups,
        "items": sum(cell.flipped for cell in cells),
        "items_shown": _items_shown(cells),
        "rules": sum(cell.area == "integrity" and cell.outcome is Outcome.PASS for cell in report.cells),
        "css": Markup(style_sheet()),  # noqa: S704 - a file of ours
        "script": Markup(script),  # noqa: S704 - a file of ours
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "limits": {"phrases": PHRASES, "changes": CHANGES, "shown": SHOWN, "many": MANY},
    }
    return environment().get_template("page.html.j2").render(context)


def figure_files(report: RunReport) -> dict[str, str | bytes]:
    """Return each chart as SVG and PNG, and its numbers as CSV and LaTeX, by the files' names."""
    cells = [cell for cell in report.cells if cell.area in AREAS]
    if any(cell.external for cell in cells):
        return {}
    files: dict[str, str | bytes] = {}
    found = [*charts.retention_charts(cells), *charts.checkpoint_charts(cells)]
    for chart in found:
        files |= {f"figures/{chart.name}.csv": chart.table.csv(), f"figures/{chart.name}.tex": chart.table.latex()}
    if _drawing() is not None:
        from editgate.report.html.figures import as_files  # noqa: PLC0415 - it imports matplotlib

        for chart in found:
            files |= {f"figures/{chart.name}.{ending}": content for ending, content in as_files(chart).items()}
    return files


def tone(conclusion: Conclusion) -> str:
    """Return how the headline looks: "bad", "known" or "good"; green only where nothing is on record or undecided."""
    if not conclusion.passed:
        return "known" if conclusion.result is Result.NOTHING_JUDGED else "bad"
    return "known" if {Standing.KNOWN, Standing.ALLOWED} & set(conclusion.counts) else "good"


def worst_first(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells with new failures first, and safety first among these."""
    order = {each: index for index, each in enumerate(Standing)}
    return sorted(cells, key=lambda c: (order[standing(c)], AREA_ORDER[c.area], c.trajectory, c.edits))


def item_groups(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Return the cells of each method that have items to show, the worst method and cell first."""
    groups: dict[str, list[Cell]] = {}
    for cell in worst_first(cell for cell in cells if cell.flips):
        groups.setdefault(cell.trajectory, []).append(cell)
    return groups


def _contents(
    report: RunReport, shown: Presentation, *, charts: int, along: bool, items: int
) -> list[tuple[str, str, int]]:
    """Return (anchor, title, number of entries or 0) of each section that the page has, as they follow each other."""
    external = any(cell.external for cell in report.cells)
    sections = (
        ("changes", "New", 0, report.changes),
        ("regressions", "Regressions", len(shown.regressions), shown.regressions),
        ("errors", "Not evaluated", sum(map(len, shown.not_evaluated.values())), shown.not_evaluated),
        ("unexpected", "Unexpected passes", len(shown.unexpected_passes), shown.unexpected_passes),
        ("curves", "Figures", charts, charts),
        ("along", "Weights" if external else "Norms, perplexity, age", 0, along),
        ("verdicts", "Verdicts", 0, shown.tables),
        ("budget", "Edit budget", 0, report.budgets and not external),
        ("items", "Items", 0, items),
        ("inconclusive", "Inconclusive", len(shown.inconclusive), shown.inconclusive),
        ("known", "Known failures", len(shown.known_failures), shown.known_failures),
        ("findings", "Findings", 0, report.findings),
        ("others", "Other tests", len(report.problems), report.problems),
    )
    return [(anchor, title, number) for anchor, title, number, there in sections if there]


def _drawing() -> Callable[[Chart, str], str] | None:
    """Return what draws a chart; None without matplotlib: the page then says that it has no figures, and why."""
    try:
        from editgate.report.html.figures import draw  # noqa: PLC0415 - it imports matplotlib
    except ImportError as error:
        if not (error.name or "").startswith("matplotlib"):
            raise
        return None
    return draw


def _safety_tone(report: RunReport) -> str:
    found = {standing(cell) for cell in report.cells if cell.area == "safety"} - {Standing.SKIPPED}
    if found & set(NEW):
        return "bad"
    return "known" if {Standing.KNOWN, Standing.ALLOWED} & found else "good"


def _verdict_tables(report: RunReport, cells: Sequence[Cell]) -> list[VerdictTable]:
    names = file_names(by_trajectory(cells))
    broken = {summary.trajectory: summary.rules_broken for summary in report.budgets}
    tables = []
    for trajectory, found in by_trajectory(cells).items():
        counts = tuple(sorted({cell.edits for cell in found}))
        by_key = {(cell.check, cell.edits): cell for cell in found}
        rows = tuple(
            (area, check, tuple(field_of(by_key.get((check, count))) for count in counts))
            for area in AREAS
            for check in checks_in_order(cell for cell in found if cell.area == area)
        )
        tables.append(
            VerdictTable(trajectory, f"verdicts-{names[trajectory]}", counts, rows, broken.get(trajectory, ()))
        )
    return tables


def _items_shown(cells: Sequence[Cell]) -> int:
    """Return how many items of each cell the page shows."""
    groups = sum(bool(cell.flips) for cell in cells)
    return max(FEWEST_ITEMS, min(ITEMS_OF_A_CELL, ITEMS_OF_A_PAGE // max(groups, 1)))


def _moved(cells: Sequence[Cell]) -> dict[str, float]:
    """Return norm after / norm before of a changed model's weights that moved most."""
    return next((cell.norm_ratio for cell in cells if cell.norm_ratio), {})
