"""Whole runs of the gate in processes of their own, which a test may kill, stop, starve or let race.

A run is a fork of the test's process, so that torch, transformers and lm-eval are not imported once more (8 s each).
The method writes weights without gradients: autograd does not work in a fork of a process that has used it.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

import editgate.report.html.page  # noqa: F401 - imported here once, and not in each run
from editgate.cache import entry_files
from editgate.measure import perplexity
from meta.support.gate import GATE, ROOT

TIMES = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\+00:00|Z)?( UTC)?")
REPORTS = ("report.json", "report.md")
FEW_SENTENCES = 32  # to choose the sample from that perplexity is measured on: a third of a small run, otherwise
LONG = 600.0  # seconds after which a run counts as hung


@dataclass(frozen=True)
class Gate:
    """What is run.

    Attributes:
        files: of the gate.
        options: of the command line, but for store and report.
    """

    files: tuple[str, ...] = ("safety", "capability", "edit_quality", "integrity")
    options: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Of pytest; store and report are relative, so that two runs in two places have the same command."""
        return [
            *(str(GATE / f"test_{name}.py") for name in self.files),
            *("--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", "-p", "no:xdist"),
            *("-q", "--store=store", "--report=report", *self.options),
        ]


VANDAL = ("--editor=editgate.controls:Vandal", "--edit-counts=1,2")
SMALL = Gate(
    ("safety", "edit_quality", "integrity"), (*VANDAL, "--limit=5", "-k", "vandal and (toxigen or accumulate)")
)
LARGE = Gate(options=(*VANDAL, "--limit=20", "-k", "vandal"))


@dataclass
class Child:
    """A run on its way.

    Attributes:
        folder: where it writes its output and its report.
        pid: its process.
        begun: on the monotonic clock.
    """

    folder: Path
    pid: int
    begun: float = field(default_factory=time.monotonic)

    def wait(self) -> int:
        """Return its exit status, -9 if it was killed; kill it if it hangs."""
        while time.monotonic() - self.begun < LONG:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        self.kill()
        raise AssertionError(f"the run hangs; it printed {self.output()}")

    def seconds(self) -> float:
        """Return how long it has been running."""
        return time.monotonic() - self.begun

    def kill(self) -> int:
        """Kill it without any warning; return its exit status, which is another one if it had ended."""
        os.kill(self.pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def output(self) -> str:
        """Return what it printed."""
        return (self.folder / "output.txt").read_text(encoding="utf-8", errors="replace")


def begin(folder: Path, gate: Gate, *, store: Path | None = None, prepare: Callable[[], None] = lambda: None) -> Child:
    """Begin a run in `folder`; `prepare` is called in its process first, and `store` is another run's to share."""
    folder.mkdir(parents=True, exist_ok=True)
    if store is not None:
        (folder / "store").symlink_to(store)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of later Pythons, about threads
        pid = os.fork()
    if pid:
        return Child(folder, pid)
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        del os.environ[name]
    torch.set_num_threads(1)  # the parent's pool of threads is not here: to wait for it has no end
    vars(torch)["set_num_threads"] = lambda _: None
    code = 99
    try:
        os.chdir(folder)
        output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(output, stream)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(stream), "w", buffering=1) for stream in (1, 2))
        _log_writes(folder.name)
        perplexity.CANDIDATES = FEW_SENTENCES
        prepare()
        code = int(pytest.main(gate.arguments()))
    except BaseException:  # noqa: BLE001 - the test's own process must not go on twice
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _log_writes(who: str) -> None:
    """Note each entry that this process writes, beside the store's entries."""
    put = entry_files._put

    def noted(path: Path, write: Callable[[Path], object]) -> None:
        put(path, write)
        with (path.parent.parent / "written.log").open("a", encoding="utf-8") as log:
            log.write(f"{path.parent.name}/{path.name} {who}\n")

    entry_files._put = noted


def written(store: Path) -> list[str]:
    """Return the entries that were written, one for each time."""
    return [line.split()[0] for line in (store / "written.log").read_text(encoding="utf-8").splitlines()]


def report(folder: Path) -> dict[str, str]:
    """Return the texts of a run's report, without times."""
    return {name: TIMES.sub("", (folder / "report" / name).read_text(encoding="utf-8")) for name in REPORTS}


def entries(store: Path) -> dict[str, str]:
    """Return a digest of each entry's content: what differs is told without megabytes of it."""
    files = (file for file in store.rglob("*") if file.suffix in {".json", ".safetensors"})
    return {str(file.relative_to(store)): hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files}


def litter(store: Path) -> Iterator[Path]:
    """Yield what is neither an entry nor a lock, nor this module's log."""
    for file in store.rglob("*"):
        if file.is_file() and file.suffix not in {".json", ".safetensors", ".lock", ".log"}:
            yield file
