"""The page: one HTML file that needs no network and no script."""

from __future__ import annotations

from tests.harness.report import charts, views
from tests.harness.report.drawing import HEIGHT, WIDTH, draw, look_of
from tests.harness.report.record import Record
from tests.harness.report.safety import safety_phrases
from tests.harness.report.templates import FOLDER, environment


def page(record: Record) -> str:
    """Return `report.html`."""
    cells = [cell for cell in record.cells if cell.area in views.AREAS]
    curves, along = charts.retention_charts(cells), charts.along_charts(cells)
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            record=record,
            result=views.result_words(record),
            safety=safety_phrases(record.cells),
            css=(FOLDER / "page.css").read_text(encoding="utf-8"),
            size=(WIDTH, HEIGHT),
            legend=[(name, look_of(style)) for name, style in charts.styles(cells).items()],
            sections=[(title, key, [draw(chart) for chart in found]) for title, key, found in _sections(curves, along)],
            tables=views.tables(record),
            regressions=views.regressions(record),
            known=views.known_limits(record),
            lifted=views.lifted(record),
            undecided=views.undecided(record),
            not_evaluated=views.not_evaluated(record),
            rules=sum(cell.area == "integrity" and cell.status == "pass" for cell in record.cells),
        )
    )


def _sections(curves: list[charts.Chart], along: list[charts.Chart]) -> list[tuple[str, str, list[charts.Chart]]]:
    named = [("What is left after N edits", "curves", curves), ("Along the trajectory", "along", along)]
    return [each for each in named if each[2]]
