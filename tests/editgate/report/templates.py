"""The jinja environment of both templates: a missing value is an error, and the page escapes all text."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from editgate import inert
from editgate.report import presentation
from editgate.verdict.failure_message import GROWN_NORM

FOLDER = Path(__file__).parent
PAGE = FOLDER / "html"


@cache
def environment() -> Environment:
    """Return the environment in which the page and the Markdown are rendered."""
    jinja = Environment(
        loader=FileSystemLoader([FOLDER, PAGE]),
        undefined=StrictUndefined,
        autoescape=select_autoescape(("html.j2",)),
        finalize=without_invisible_signs,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters |= {
        "name": presentation.name_of,
        "summary": presentation.summary_of,
        "sentence": presentation.sentence_of,
        "known": presentation.is_known,
    }
    jinja.globals |= {"counted": presentation.counted, "grown_norm": GROWN_NORM}
    return jinja


def without_invisible_signs(value: object) -> object:
    """Return what a template shows of a value: a text of others without signs that act or that nobody sees."""
    return inert.html(value) if isinstance(value, str) and not isinstance(value, Markup) else value
