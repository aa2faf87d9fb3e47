"""Four shards, each a process of its own, and a run that judges: the report is that of one run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from meta.faults.runs import Gate, begin, entries, report, written

FEW = ("--limit=5", "--edit-counts=1,2", "-k", "toxigen or accumulate or efficacy")
METHODS = ("--editor=editgate.controls:Vandal", "--editor=editgate.controls:KeepsLast")
GATE = Gate(("safety", "edit_quality", "integrity"), (*METHODS, *FEW))
SHARDS = 4


@pytest.mark.parametrize("shared", [False, True], ids=["own stores", "one store"])
def test_shards_give_the_report_of_one_run(tmp_path: Path, *, shared: bool) -> None:
    """Stores of their own that are copied together, or one for all: the same report and entries, and none later."""
    whole = begin(tmp_path / "whole", GATE)
    code = whole.wait()
    together = tmp_path / "together"
    together.mkdir()
    for number in range(1, SHARDS + 1):
        part = replace(GATE, options=(*GATE.options, f"--shard={number}/{SHARDS}"))
        folder = tmp_path / f"shard{number}"
        child = begin(folder, part, store=together if shared else None)
        assert child.wait() == pytest.ExitCode.OK, child.output()
        assert f"shard {number}/{SHARDS}" in child.output()
        assert not (folder / "report").exists()
        if not shared:
            shutil.copytree(folder / "store", together, dirs_exist_ok=True)
    judge = begin(tmp_path / "judge", GATE, store=together)
    assert judge.wait() == code, judge.output()
    assert report(judge.folder) == report(whole.folder)
    assert entries(whole.folder / "store").items() <= entries(together).items()
    log = (together / "written.log").read_text(encoding="utf-8").splitlines()
    assert [line for line in log if line.endswith(" judge")] == []
    assert not shared or len(written(together)) == len({*written(together)})
