"""Measures the room that a model leaves to edits and how much of it single edits take.

    python -m editgate.geometry llama-mini gpt2-mini
    python -m editgate.geometry DIR --edits=FILE --covariance-text=FILE --editor=rome --editor=memit

The first table has a row a matrix that some method writes, the second a row a method.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import mean, median

from rich.console import Console
from rich.table import Table

from editgate.geometry.edit_sizes import EditSize
from editgate.geometry.measurement import Geometry, measure
from editgate.measure.session import EvaluationSession
from editgate.options.options import Options, add_to
from editgate.options.programs import Parser
from editgate.options.settings import read

COUNT = 50
NOT_TAKEN = (
    "--model",
    "--edited",
    "--edit-counts",
    "--batch-size",
    "--budget",
    "--min-budget",
    "--report",
    "--compare",
    "--items",
    "--limit",
)
SPECTRA = ("matrix", "units", "dead", "condition", "eff. rank", "99 % in", "condition*", "eff. rank*")
SIZES = ("method", "efficacy", "exact", "|ΔW|/|W|", "|ΔWk|/|Wk|", "rare half", "|v*-v|/|v|", "clamped")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print the tables."""
    parser = Parser(
        "editgate.geometry",
        "Measure the spectra of what editing methods write, and the size of single edits.",
        not_taken=NOT_TAKEN,
    )
    parser.add_argument("models", nargs="+", help="shipped models, directories, or hub ids")
    parser.add_argument("--count", type=int, default=COUNT, help="edits, each applied alone. Default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number there as well")
    add_to(parser)
    given = parser.parse_args(arguments)
    if given.count < 1:
        parser.error(f"--count is {given.count}; allowed: at least 1.")
    with parser.ending_in_a_sentence():
        options = Options.of_command_line(given).model_copy(update={"edit_counts": str(given.count)})
        runs = [read(options.model_copy(update={"model": name}), Path(".editgate")) for name in given.models]
        say = partial(print, file=sys.stderr)
        found = [measure(EvaluationSession(settings, say), given.count) for settings in runs]
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in found], indent=1) + "\n", encoding="utf-8")
    console = Console(width=None if sys.stdout.isatty() else 100)
    for geometry in found:
        console.print(spectra_table(geometry))
        console.print("* if every unit had the same root mean square; beside a rank its share of the units\n")
        console.print(sizes_table(geometry, given.count))
        console.print()


def spectra_table(geometry: Geometry) -> Table:
    """Return a row for each matrix: how its inputs fill their space."""
    table = _table(f"{geometry.model}: second moment of what a matrix is given", SPECTRA)
    for row in geometry.spectra:
        table.add_row(
            row.path.removeprefix("model.").removeprefix("transformer.").removeprefix("gpt_neox."),
            str(row.width),
            str(row.dead),
            f"{row.condition_number:.1e}",
            f"{row.effective_rank:.0f} {row.effective_rank / row.width:.2f}",
            str(row.directions),
            f"{row.equal_condition_number:.1e}",
            f"{row.equal_effective_rank:.0f} {row.equal_effective_rank / row.width:.2f}",
        )
    return table


def sizes_table(geometry: Geometry, count: int) -> Table:
    """Return a row for each method: the median size of its edits."""
    table = _table(f"{geometry.model}: medians of {count} edits, each alone", SIZES)
    for method, rows in geometry.sizes.items():
        table.add_row(method, *_medians(rows))
    return table


def _medians(rows: Sequence[EditSize]) -> list[str]:
    values = [row.value for row in rows if row.value is not None]
    clamped = [row.clamped for row in rows if row.clamped is not None]
    return [
        f"{mean(row.efficacy for row in rows):.2f}",
        f"{mean(row.exact for row in rows):.2f}",
        f"{median(row.weight for row in rows):.3g}",
        f"{median(row.output for row in rows):.3g}",
        f"{median(row.rare for row in rows):.2f}",
        f"{median(values):.1f}" if values else "",
        f"{sum(clamped) / len(clamped):.0%}" if clamped else "",
    ]


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    return table


if __name__ == "__main__":
    main()
