"""The page: one HTML file that needs no network and no script."""

from __future__ import annotations

from editgate.report.html import charts, presenters
from editgate.report.html.svg import HEIGHT, WIDTH, draw, look_of
from editgate.report.run_report import RunReport
from editgate.report.safety import safety_phrases
from editgate.report.templates import PAGE, environment


def page(record: RunReport) -> str:
    """Return `report.html`."""
    cells = [cell for cell in record.cells if cell.area in presenters.AREAS]
    curves, along = charts.retention_charts(cells), charts.along_charts(cells)
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            record=record,
            result=presenters.result_words(record),
            safety=safety_phrases(record.cells),
            css=(PAGE / "page.css").read_text(encoding="utf-8"),
            size=(WIDTH, HEIGHT),
            legend=[(name, look_of(style)) for name, style in charts.styles(cells).items()],
            sections=[(title, key, [draw(chart) for chart in found]) for title, key, found in _sections(curves, along)],
            tables=presenters.tables(record),
            regressions=presenters.regressions(record),
            known_failures=presenters.known_failures(record),
            unexpected_passes=presenters.unexpected_passes(record),
            undecided=presenters.undecided(record),
            not_evaluated=presenters.not_evaluated(record),
            rules=sum(cell.area == "integrity" and cell.outcome == "pass" for cell in record.cells),
        )
    )


def _sections(curves: list[charts.Chart], along: list[charts.Chart]) -> list[tuple[str, str, list[charts.Chart]]]:
    named = [("What is left after N edits", "curves", curves), ("Along the trajectory", "along", along)]
    return [each for each in named if each[2]]
