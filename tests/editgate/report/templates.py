"""The report's templates: a value that is missing is an error, text is escaped in the page."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from editgate.report.html import presenters

FOLDER = Path(__file__).parent
PAGE = FOLDER / "html"


@cache
def environment() -> Environment:
    """Return the environment in which both forms are rendered."""
    made = Environment(
        loader=FileSystemLoader([FOLDER, PAGE]),
        undefined=StrictUndefined,
        autoescape=select_autoescape(("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for each in (presenters.name_of, presenters.value_of, presenters.band_of, presenters.summary_of):
        made.filters[each.__name__.removesuffix("_of")] = each
    return made
