"""A run from whose store everything is taken away, again and again, gives the report of one that was left alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from editgate.cache import pruning, users
from meta.faults.conftest import Whole
from meta.faults.runs import SMALL, Child, Gate, begin, litter, report, written


def prune_until_it_ends(run: Child) -> int:
    """Make all the room there is, four times a second; return how many entries went."""
    store, gone = run.folder / "store", 0
    while not (run.folder / "report" / "report.json").exists() and run.seconds() < 300:
        if store.is_dir():
            gone += len(pruning.prune(store, older_than=0.0, max_size=0).removed)
        time.sleep(0.25)
    return gone


def test_pruned_while_it_runs(uninterrupted: Callable[[Gate], Whole], tmp_path: Path) -> None:
    """The run is known to use its store: nothing is taken, and nothing is computed twice."""
    whole = uninterrupted(SMALL)
    run = begin(tmp_path, SMALL)
    assert prune_until_it_ends(run) == 0
    assert run.wait() == whole.code, run.output()
    assert report(tmp_path) == report(whole.folder)
    assert len(written(tmp_path / "store")) == len(set(written(tmp_path / "store")))
    assert not list(litter(tmp_path / "store"))


def test_pruned_of_what_it_uses(
    uninterrupted: Callable[[Gate], Whole], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if runs are not seen, as on a disk without locks between machines, it computes again and says the same."""
    whole = uninterrupted(SMALL)
    monkeypatch.setattr(users, "alive", lambda *_, **__: [])
    run = begin(tmp_path, SMALL)
    assert prune_until_it_ends(run) > 0
    assert run.wait() == whole.code, run.output()
    assert report(tmp_path) == report(whole.folder)
