"""Disks that are full or read-only: what can be told is told once, and nothing expensive is done for nothing."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from editgate.cache import entry_files, store
from editgate.cases import Case
from editgate.errors import StoreError
from editgate.measure import covariances
from editgate.measure.session import EvaluationSession
from editgate.verdict.cell import evaluate_cell
from editors.models.projection import Matrix
from meta.faults.conftest import Whole
from meta.faults.runs import LARGE, SMALL, Gate, begin, litter, report
from meta.support.settings_factory import miniature, settings

CHECKS = ("mmlu", "toxigen", "efficacy")


def test_a_full_disk_costs_one_computation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first test that cannot keep the covariances says so; all others repeat its sentence in no time."""
    computed: list[int] = []

    def compute(*given: object, keep: Callable[[str, torch.Tensor], None]) -> None:
        matrices: list[Matrix] = given[3]  # type: ignore[assignment]
        computed.append(len(matrices))
        for matrix in matrices:
            keep(matrix.path, torch.eye(2))

    def full(path: Path, write: Callable[[Path], object]) -> None:
        if path.parent.name == "covariances":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        put(path, write)

    put = entry_files._put
    monkeypatch.setattr(covariances, "compute_covariances", compute)
    monkeypatch.setattr(entry_files, "_put", full)
    chosen = settings(tmp_path, edit_counts="1,2", limit=5)
    session = EvaluationSession(chosen, lambda _: None)
    rome = next(editor for editor in chosen.editors if editor.name == "rome")
    told = set()
    for check in CHECKS:
        for edits in chosen.counts:
            with pytest.raises(StoreError, match=r"covariances.*No space left.*--store DIR") as caught:
                evaluate_cell(session, Case(rome, miniature(chosen), check, edits))
            told.add(str(caught.value))
    assert len(computed) == 1
    assert len(told) == 1


def _read_only() -> None:
    """Whatever would write into the store is refused, as by a read-only mount; rights do not bind the user root."""
    write = Path.write_bytes

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def unless_probed(path: Path, data: bytes) -> int:
        if "probe-" in path.name:
            refused()
        return write(path, data)

    patch = pytest.MonkeyPatch()  # never undone: the process ends with the run
    patch.setattr(entry_files, "_put", refused)
    patch.setattr(store, "held", refused)
    patch.setattr(Path, "write_bytes", unless_probed)


def test_a_warm_store_may_be_read_only(uninterrupted: Callable[[Gate], Whole], tmp_path: Path) -> None:
    """A run for which everything is stored needs to write nothing but its report, which is the same."""
    whole = uninterrupted(SMALL)
    run = begin(tmp_path, SMALL, store=whole.folder / "store", prepare=_read_only)
    assert run.wait() == whole.code, run.output()
    assert report(tmp_path) == report(whole.folder)


@pytest.mark.usefixtures("nightly")
def test_a_disk_that_fills_while_the_gate_runs(tmp_path: Path) -> None:
    """With files of at most 200 kB no checkpoint can be kept: errors with one sentence, nothing half-written."""

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    run = begin(tmp_path, LARGE, prepare=small_files)
    assert run.wait() == pytest.ExitCode.TESTS_FAILED
    assert "File too large" in run.output()
    assert not list(litter(tmp_path / "store"))
