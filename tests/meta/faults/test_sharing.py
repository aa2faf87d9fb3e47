"""Runs that share a store at the same time give what each gives alone, and compute nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from meta.faults.conftest import Whole
from meta.faults.runs import LARGE, Gate, begin, entries, litter, report, written


@pytest.mark.usefixtures("nightly")
@pytest.mark.parametrize("runs", [2, 8])
def test_runs_that_share_a_store(uninterrupted: Callable[[Gate], Whole], tmp_path: Path, runs: int) -> None:
    """Each report and each entry is as alone, and each entry was written by one of them, once."""
    whole = uninterrupted(LARGE)
    store = tmp_path / "store"
    store.mkdir()
    children = [begin(tmp_path / f"run{number}", LARGE, store=store) for number in range(runs)]
    for child in children:
        assert child.wait() == whole.code, child.output()
        assert report(child.folder) == report(whole.folder)
    assert entries(store) == entries(whole.folder / "store")
    assert sorted(written(store)) == sorted(set(written(store))) == sorted(entries(store))
    assert not list(litter(store))
