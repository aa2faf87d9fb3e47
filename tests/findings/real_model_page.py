"""Writes what `findings.real_model` measured into a page, in tables and a figure, beside miniature and paper.

    python -m findings.real_model_page curves.json --into=../docs/real-models.md --figure=../docs/real-models.svg

The miniature's numbers are those on record for `pytest tests/findings`, so nothing is measured here.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

import matplotlib as mpl
from matplotlib.figure import Figure

from editgate.errors import ConfigError
from editgate.measure.edit_quality import KINDS
from editgate.methods_table import Page
from findings import prediction
from findings.prediction import GIANTS
from findings.real_model import Curve, Measured
from findings.sweeps import FAILING
from findings.tables import never

BEGIN, END = "<!-- real model: begin -->", "<!-- real model: end -->"
RECORD = Path(__file__).parent / "__snapshots__" / "test_findings" / "test_few_edits[mini].json"
MINIATURE = "llama-mini"
GIANT = GIANTS["base"]
Left = Mapping[int, float]  # what is left at each N: the mean over benchmarks and orders


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the file, and write the part of the page between its marks, and the figure."""
    parser = argparse.ArgumentParser(prog="python -m findings.real_model_page", description=__doc__)
    parser.add_argument("json", type=Path, nargs="+", help="what findings.real_model wrote, of one or several runs")
    parser.add_argument("--into", type=Path, required=True, metavar="PAGE", help=f"has {BEGIN} and {END}")
    parser.add_argument("--figure", type=Path, metavar="FILE.svg", help="retention by benchmark")
    given = parser.parse_args(arguments)
    runs = [Measured.model_validate_json(file.read_text(encoding="utf-8")) for file in given.json]
    longest = max(runs, key=lambda run: len(run.counts))
    alike = longest.model, longest.benchmarks
    if any((run.model, run.benchmarks) != alike or run.counts != longest.counts[: len(run.counts)] for run in runs):
        parser.error("these runs are of different models, benchmarks or Ns, and make no table together.")
    measured = longest.model_copy(update={"curves": [curve for run in runs for curve in run.curves]})
    try:
        page = Page.read(given.into, BEGIN, END)
    except ConfigError as error:
        parser.error(str(error))
    page.write(render(measured, recorded()))
    if given.figure:
        draw(measured, given.figure)


def recorded() -> dict[str, Left]:
    """Return what the miniature keeps, by method, from the findings' record."""
    numbers = json.loads(RECORD.read_text(encoding="utf-8"))["numbers"]
    return {
        name: {int(column.removeprefix("left at ")): cell["mean"] for column, cell in row.items()}
        for name, row in numbers.items()
    }


def render(measured: Measured, mini: Mapping[str, Left]) -> str:
    """Return all tables in Markdown."""
    parts = [_asked(measured), _kept(measured), _qualities(measured)]
    return "\n\n".join([*parts, _failures(measured, mini), _correlations(measured, mini)]) + "\n"


def methods(measured: Measured) -> dict[str, list[Curve]]:
    """Return the curves by method, in the order in which they were measured."""
    return {
        curve.editor: [each for each in measured.curves if each.editor == curve.editor] for curve in measured.curves
    }


def left(measured: Measured) -> dict[str, Left]:
    """Return what is left at each N that was measured, by method."""
    return {
        name: dict(zip(measured.counts, map(mean, zip(*map(_over_benchmarks, curves), strict=True)), strict=False))
        for name, curves in methods(measured).items()
    }


def fails_at(kept: Left) -> float:
    """Return the first N at which less than FAILING is left on average; infinite for never."""
    return next((float(count) for count in sorted(kept) if kept[count] < FAILING), math.inf)


def _over_benchmarks(curve: Curve) -> list[float]:
    return [mean(values) for values in zip(*curve.retention.values(), strict=True)]


def _asked(measured: Measured) -> str:
    rows = [
        [f"`{name}`", f"{one.score:.2f}", f"{one.chance:.2f}", str(one.items), "yes" if one.above_chance else "no"]
        for name, one in measured.benchmarks.items()
    ]
    return _table(["benchmark", "unedited", "chance", "items", "above chance"], rows)


def _kept(measured: Measured) -> str:
    """What is left of each benchmark, the mean over orders; below it the lowest and the highest order."""
    rows = []
    for name, curves in methods(measured).items():
        for benchmark in curves[0].retention:
            by_count = zip(*(curve.retention[benchmark] for curve in curves), strict=True)
            rows.append([f"`{name}`", f"`{benchmark}`", *(_spread(values) for values in by_count)])
        by_count = zip(*map(_over_benchmarks, curves), strict=True)
        rows.append([f"`{name}`", "**mean**", *(f"**{_spread(values)}**" for values in by_count)])
    rows = [[*row, *["–"] * (len(measured.counts) + 2 - len(row))] for row in rows]
    return _table(["method", "benchmark", *(f"N = {count}" for count in measured.counts)], rows)


def _qualities(measured: Measured) -> str:
    rows = []
    for name, curves in methods(measured).items():
        last = measured.counts[len(curves[0].norm_ratio) - 1]
        shares = [[getattr(curve, when)[kind][-1] for curve in curves] for kind in KINDS for when in WHEN]
        cells = [_spread([value for value in each if value is not None]) for each in shares]
        growth = _spread([curve.norm_ratio[-1] for curve in curves])
        rows.append([f"`{name}`", str(last), str(len(curves)), *cells, growth])
    heads = [f"{kind}, {when.replace('_', ' ')}" for kind in KINDS for when in WHEN]
    return _table(["method", "N", "orders", *heads, "norm after / before"], rows)


WHEN = ("right_after", "at_the_end")


def _failures(measured: Measured, mini: Mapping[str, Left]) -> str:
    paper = prediction.published(GIANT)
    rows = []
    for name, curves in methods(measured).items():
        by_order = [fails_at(dict(zip(measured.counts, _over_benchmarks(curve), strict=False))) for curve in curves]
        there = [never(fails_at(mini[name])) if name in mini else "–", never(paper[name]) if name in paper else "–"]
        rows.append([f"`{name}`", ", ".join(map(never, by_order)), never(fails_at(left(measured)[name])), *there])
    return _table(["method", f"{measured.model}, by order", "on average", f"`{MINIATURE}`", GIANT], rows)


def _correlations(measured: Measured, mini: Mapping[str, Left]) -> str:
    """Spearman's between the model and the miniature, of the edits to failure and of what is left over the same Ns."""
    here = left(measured)
    both = [name for name in here if name in mini]
    common = [count for count in measured.counts if all(count in here[name] and count in mini[name] for name in both)]
    pairs = {
        "edits to failure": ({n: fails_at(here[n]) for n in both}, {n: fails_at(mini[n]) for n in both}),
        f"mean of what is left at N = {', '.join(map(str, common))}": (
            {name: mean(here[name][count] for count in common) for name in both},
            {name: mean(mini[name][count] for count in common) for name in both},
        ),
    }
    lines = []
    for what, (ours, theirs) in pairs.items():
        try:
            lines.append(f"- {what}: {prediction.compare(ours, theirs)}")
        except ValueError as error:
            lines.append(f"- {what}: {error}")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    """Such as `0.93 (0.90 to 0.97)`; one number where all are equal as shown, a dash without any."""
    if not values:
        return "–"
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{mean(values):.2f} ({low} to {high})"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def draw(measured: Measured, file: Path) -> None:
    """Draw a panel for each benchmark with a line a method: the mean over orders, and a band from lowest to highest."""
    names = [name for name, one in measured.benchmarks.items() if one.above_chance]
    with mpl.rc_context({"svg.hashsalt": "editgate", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(2.6 * len(names), 2.6), layout="constrained")
        for panel, benchmark in zip(figure.subplots(1, len(names), sharey=True, squeeze=False)[0], names, strict=True):
            for name, curves in methods(measured).items():
                by_count = list(zip(*(curve.retention[benchmark] for curve in curves), strict=True))
                counts = measured.counts[: len(by_count)]
                (line,) = panel.plot(counts, [mean(values) for values in by_count], marker=".", label=name)
                panel.fill_between(
                    counts, [*map(min, by_count)], [*map(max, by_count)], color=line.get_color(), alpha=0.15
                )
            panel.axhline(FAILING, color="gray", linewidth=0.6, linestyle=":")
            panel.set(title=benchmark, xscale="log", xticks=measured.counts, xlabel="edits")
            panel.set_xticklabels([str(count) for count in measured.counts])
            panel.minorticks_off()
        figure.axes[0].set_ylabel("what is left")
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(methods(measured))
        )
        figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main()
