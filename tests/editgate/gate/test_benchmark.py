"""Any benchmark of lm-eval that `--benchmarks` adds: after N edits, held against the floor of `thresholds/`."""

from __future__ import annotations

import pytest

from editgate.verdict.outcome import Cell


@pytest.mark.measures("added benchmarks")
def test_benchmark(cell: Cell) -> None:
    """What the benchmark of the test's id asks for survives the edits; its area is in the marker."""
    cell.raise_if_failed()
