"""A Ray that the run starts itself: what kills its worker is no other's error, and after Ctrl-C nothing is left."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from meta.faults.runs import Gate, begin, entries
from meta.ray_run.runs import GATE, until_written, with_all_sentences

pytest.importorskip("ray", reason="ray is not installed: editgate[ray]")

MARK = "EDITGATE_TEST_MARK"
DYING = Gate(
    ("safety",),
    (
        *("--editor=meta.ray_run.dies:Dies", "--editor=editgate.controls:Vandal", "--edit-counts=1,3"),
        *("--limit=5", "-k", "toxigen", "--inconclusive=pass", "--ray"),
    ),
)


def test_a_task_that_kills_its_workers_is_an_error_of_its_cells(tmp_path: Path) -> None:
    """The other N of that method and the other method are judged; this process does not try what killed three."""
    child = begin(tmp_path / "ray", DYING, prepare=with_all_sentences)
    assert child.wait() == pytest.ExitCode.TESTS_FAILED, child.output()
    cells = json.loads((child.folder / "report" / "report.json").read_text(encoding="utf-8"))["cells"]
    outcomes = {(cell["trajectory"], cell["edits"]): cell["outcome"] for cell in cells if cell["check"] == "toxigen"}
    assert len(outcomes) == 4
    dead = outcomes.pop(("dies-llama-mini", 3))
    assert dead not in outcomes.values()
    (reason,) = {cell["reason"] for cell in cells if cell["trajectory"] == "dies-llama-mini" and cell["edits"] == 3}
    assert "poisoned: edit dies-llama-mini 2-3 failed 3 times under --ray" in reason
    assert "POISONED: edit dies-llama-mini 2-3: the worker on node" in child.output()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_after_an_end_no_process_is_left_and_what_is_done_is_kept(tmp_path: Path, ending: signal.Signals) -> None:
    """Exit code 2 and a report, as always; not one process of the run's Ray lives on."""
    mark = uuid.uuid4().hex

    def marked() -> None:
        os.environ[MARK] = mark

    child = begin(tmp_path / "ray", replace(GATE, options=(*GATE.options, "--ray")), prepare=marked)
    until_written(child, 3)
    assert len(_marked(mark)) > 3, "Ray's processes do not have the mark, so the test shows nothing"
    kept = entries(child.folder / "store")
    os.kill(child.pid, ending)
    assert child.wait() == pytest.ExitCode.INTERRUPTED, child.output()
    until = time.monotonic() + 20
    while _marked(mark) and time.monotonic() < until:
        time.sleep(0.1)
    assert _marked(mark) == []
    assert kept.items() <= entries(child.folder / "store").items()
    assert (child.folder / "report" / "report.json").exists()


def _marked(mark: str) -> list[str]:
    """Return the command lines of the processes that have the mark in their environment."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (place / "environ").read_bytes():
                found.append((place / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it has ended
            continue
    return found
