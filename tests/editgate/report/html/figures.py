"""Figures as the page has them, inline SVG in the page's colors and font, and as files: SVG and PNG on white."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.figure import Figure

from editgate.report.html.charts import Chart
from editgate.report.html.drawing import build, drawable, texts_of
from editgate.report.html.looks import STAND_INS, VARIABLES, palette

RESOLUTION = 200  # of a PNG, dots an inch
XML_NAMESPACE = re.compile(r"\{[^}]*\}")
STAND_IN = re.compile(r"#0000\d\w")
FONT_FAMILY = re.compile(r"font-family: [^;]*; |(?<=px )'[^;]*?sans-serif")


def draw(chart: Chart, identifier: str) -> str:
    """Return the chart as an `<svg>` element; `identifier` is unique in the page."""
    svg = _page_svg(build(chart, STAND_INS), identifier)
    notes = iter(texts_of(chart))
    for element in svg.iter():
        if element.get("class", "").startswith("mark"):
            _add_text(element, "title", next(notes))
    svg.set("role", "img")
    svg.set("aria-labelledby", f"{identifier}-t {identifier}-d")
    _add_text(svg, "desc", chart.description, f"{identifier}-d")
    _add_text(svg, "title", chart.title, f"{identifier}-t")
    return ElementTree.tostring(svg, encoding="unicode")


def as_files(chart: Chart) -> dict[str, bytes]:
    """Return the chart as SVG and PNG, by their endings, with its title and legend inside."""
    figure = build(chart, palette("light"), alone=True)
    png = _saved(figure, "png", dpi=RESOLUTION)
    return {"svg": _as_svg(figure, chart.name), "png": png}


def _as_svg(figure: Figure, seed: str) -> bytes:
    """Return the figure as SVG in which text stays text; the seed decides its ids."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": seed, "path.simplify": False}):
        return _saved(figure, "svg", metadata={"Date": None})


def _saved(figure: Figure, form: str, **settings: Any) -> bytes:  # noqa: ANN401 - matplotlib's own
    """Return the file; where the font lacks a sign of some name there is a box, and no warning that ends a run."""
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(written, format=form, **settings)
    return written.getvalue()


def _page_svg(figure: Figure, seed: str) -> ElementTree.Element:
    """Return the figure as an element for the page: classes instead of ids, the page's colors and font, no metadata."""
    figure.patch.set_visible(False)
    svg = ElementTree.fromstring(_as_svg(figure, seed))  # noqa: S314 - matplotlib wrote it
    for child in list(svg):
        if child.tag.endswith(("metadata", "defs")):  # the latter are clip paths and a style sheet
            svg.remove(child)
    for element in svg.iter():
        element.tag = XML_NAMESPACE.sub("", element.tag)
        element.attrib = {XML_NAMESPACE.sub("", name): value for name, value in element.items() if name != "clip-path"}
        if element.tag == "g" and "id" in element.attrib:
            element.set("class", re.sub(r"_\d+$", "", element.attrib.pop("id")))
        if "style" in element.attrib:
            written_style = FONT_FAMILY.sub("", element.get("style", ""))
            element.set("style", STAND_IN.sub(lambda color: VARIABLES[color[0]], written_style))
    svg.attrib = {"viewBox": svg.get("viewBox", "")}
    return svg


def _add_text(element: ElementTree.Element, tag: str, text: str, identifier: str = "") -> None:
    child = ElementTree.Element(tag, {"id": identifier} if identifier else {})
    child.text = drawable(text)
    element.insert(0, child)
