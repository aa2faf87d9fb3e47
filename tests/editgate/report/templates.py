"""The jinja environment of both templates: a missing value is an error, and the page escapes all text."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from editgate.report import presentation

FOLDER = Path(__file__).parent
PAGE = FOLDER / "html"


@cache
def environment() -> Environment:
    """Return the environment in which the page and the Markdown are rendered."""
    jinja = Environment(
        loader=FileSystemLoader([FOLDER, PAGE]),
        undefined=StrictUndefined,
        autoescape=select_autoescape(("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters |= {"name": presentation.name_of, "summary": presentation.summary_of}
    jinja.globals["counted"] = presentation.counted
    return jinja
