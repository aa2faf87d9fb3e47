"""The page: one HTML file that needs no network and no script."""

from __future__ import annotations

from editgate.report.html import charts
from editgate.report.html.figures import draw, draw_swatch
from editgate.report.presentation import AREAS, present
from editgate.report.run_report import RunReport
from editgate.report.templates import PAGE, environment
from editgate.verdict.outcome import Outcome


def page(report: RunReport) -> str:
    """Return `report.html`."""
    cells = [cell for cell in report.cells if cell.area in AREAS]
    sections = [
        ("What is left after N edits", "curves", charts.retention_charts(cells)),
        ("Along the trajectory", "along", charts.checkpoint_charts(cells)),
    ]
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            shown=present(report),
            css=(PAGE / "page.css").read_text(encoding="utf-8"),
            draw=draw,
            legend={name: draw_swatch(style) for name, style in charts.styles(cells).items()},
            sections=[section for section in sections if section[2]],
            rules=sum(cell.area == "integrity" and cell.outcome is Outcome.PASS for cell in report.cells),
        )
    )
