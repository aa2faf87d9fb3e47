"""Runs of many methods, made up without a model: as many cells as the real gate has, in every mix of outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from editgate.inputs.benchmarks import BENCHMARKS
from editgate.measure.edit_quality import KINDS
from editgate.verdict.outcome import Cell, Flip, Outcome

METHODS = ("alphaedit", "ftl", "grace", "ike", "kn", "memit", "mend", "pmet", "rome", "rrome", "serac")
COUNTS = (1, 5, 10, 20, 50, 100)
ON_RECORD = "Its edits pile up and drown what the layers held, as measured in three orders of the edits."
WHY = (
    "REGRESSION: {check} after {n} edits of llama-mini with {method} fell from 0.800 to 0.400 on 400 items: 27% of\n"
    "its lead over guessing is left, at least 90% is required.\n"
    "80 items scored worse and 0 better; the drop is above 0.168 and below 0.234 (each with 95% confidence), allowed\n"
    "is 0.055.\n    What is the capital of France?\n        expected 'Paris', before 'Paris', now 'Rome'\nAgain: pytest"
)


def green(counts: tuple[int, ...] = COUNTS) -> list[Cell]:
    """Return a run that passes: some failures are on record, some of those did not come."""
    return [
        _known(cell) if cell.edits >= 50 and cell.trajectory.startswith(("kn", "memit", "rome")) else cell
        for cell in _held(counts)
    ]


def red(counts: tuple[int, ...] = COUNTS) -> list[Cell]:
    """Return a run in which every method regresses from the second N on, and nothing is on record."""
    return [_failed(cell) if cell.edits > counts[0] else cell for cell in _passed(counts)]


def collapsed(counts: tuple[int, ...] = COUNTS) -> list[Cell]:
    """Return a run in which every method ends with one answer to nearly everything, and the score rises."""
    return [
        replace(_failed(cell), value=1.2, collapse="'No' on 97% of the items (48% before)")
        if cell.edits == counts[-1] and cell.check == "toxigen"
        else cell
        for cell in green(counts)
    ]


def smoke(counts: tuple[int, ...] = (1, 5)) -> list[Cell]:
    """Return a run on few items: nothing fails, hardly anything is decided, and that is allowed."""
    return [
        replace(cell, outcome=Outcome.INCONCLUSIVE, fails=False) if cell.area != "quality" else cell
        for cell in _passed(counts)
    ]


def mixed(counts: tuple[int, ...] = COUNTS) -> list[Cell]:
    """Return a run with everything in it, each method for itself."""
    cells = [cell for cell in green(counts) if not cell.trajectory.startswith(("ftl", "kn", "mend", "serac"))]
    cells += [cell for cell in red(counts) if cell.trajectory.startswith("ftl")]
    cells += [cell for cell in collapsed(counts) if cell.trajectory.startswith("kn")]
    error = "NonFiniteModel: NaN or infinite weights in 1 tensors: w (1 values). No number is computed."
    cells += [
        replace(cell, value=None, outcome=Outcome.NOT_EVALUATED, fails=True, reason=error)
        for cell in _passed(counts)
        if cell.trajectory.startswith("mend")
    ]
    cells += [
        replace(cell, outcome=Outcome.INCONCLUSIVE, fails=True, reason="INCONCLUSIVE: it may have fallen.")
        for cell in _passed(counts)
        if cell.trajectory.startswith("serac")
    ]
    return cells


RUNS = {"green": green, "red": red, "collapsed": collapsed, "smoke": smoke, "mixed": mixed}


def _passed(counts: tuple[int, ...]) -> Iterator[Cell]:
    for method in METHODS:
        for check, area in (
            *((row.name, row.area) for row in BENCHMARKS.values()),
            *((kind, "quality") for kind in KINDS),
        ):
            for count in counts:
                test = f"tests/editgate/gate/test_{area}.py::test_{check}[{method}-llama-mini-n{count}]"
                made = Cell(f"{method}-llama-mini", check, count, 0.98, Outcome.PASS, area, test=test)
                yield replace(made, low=0.95, high=1.01, floor=0.9, items=400, before=0.8, after=0.79, chance=0.25)


def _held(counts: tuple[int, ...]) -> list[Cell]:
    return [replace(cell, known_failure=ON_RECORD) if cell.edits in {10, 20} else cell for cell in _passed(counts)]


def _failed(cell: Cell) -> Cell:
    reason = WHY.format(check=cell.check, n=cell.edits, method=cell.trajectory.partition("-")[0])
    flips = (Flip("What is the capital of France?", "Paris", "Paris", "Rome"),) * 3
    return replace(
        cell, value=0.27, outcome=Outcome.REGRESSION, fails=True, known_failure="", reason=reason, flips=flips
    )


def _known(cell: Cell) -> Cell:
    return replace(_failed(cell), fails=False, known_failure=ON_RECORD)
