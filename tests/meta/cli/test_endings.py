"""However a run ends, its report is its own: none of an earlier run's, whole or absent, and the exit code says so."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from editgate.report import summary
from editgate.report.run_report import read_report
from meta.support.gate import ROOT, run_gate

TESTS = """
    import time
    from pathlib import Path
    from editgate.verdict.outcome import Cell, Outcome, note

    def test_good(request):
        note(request.node, Cell("memit-llama-mini", "mmlu", 1, 1.0, Outcome.PASS, "capability"))

    def test_wait():
        Path("started").touch()
        time.sleep(60)
"""
SLOW_END = """
    import time
    from pathlib import Path

    def pytest_keyboard_interrupt():
        Path("ending").touch()
        time.sleep(60)
"""


def _heed_interrupts() -> None:
    """A shell lets what it starts in the background ignore SIGINT, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(folder: Path) -> subprocess.Popen[str]:
    """Run the tests of a folder that has an old report, in a process of its own, until it is in the second of them."""
    (folder / "out").mkdir(exist_ok=True)
    (folder / "out" / "report.json").write_text("OLD", encoding="utf-8")
    (folder / "out" / "mine.txt").write_text("kept", encoding="utf-8")
    options = ("-p", "editgate.plugin", "-p", "no:cacheprovider", "--report=out", "--store=store")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    command = [sys.executable, "-m", "pytest", *options]
    process = subprocess.Popen(  # noqa: S603 - our own command; the hook starts no thread
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=_heed_interrupts,  # noqa: PLW1509 - this process has one thread
    )
    wait_for(folder / "started", process)
    return process


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a file is there; fail if the process ends before."""
    for _ in range(600):
        if file.exists():
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    process.kill()
    pytest.fail(f"{file.name} never came: {process.communicate()[0]}")


def test_sigterm_ends_a_run_as_ctrl_c_does(pytester: pytest.Pytester) -> None:
    """While it runs there is no old report; after SIGTERM there is one of what was judged, and exit code 2."""
    pytester.makepyfile(TESTS)
    process = start(pytester.path)
    left = {path.name for path in (pytester.path / "out").iterdir()}
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert left == {"mine.txt"}
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    report = read_report(pytester.path / "out" / "report.json")
    assert report.ended == "interrupted (Terminated); 1 of 2 tests ended"
    assert [cell.check for cell in report.cells] == ["mmlu"]
    assert "1 passed" in output


def test_a_second_signal_ends_at_once(pytester: pytest.Pytester) -> None:
    """Whoever cannot wait for the report is not made to: the process ends by the signal, and no old report is left."""
    pytester.makepyfile(TESTS)
    pytester.makeconftest(SLOW_END)
    process = start(pytester.path)
    process.send_signal(signal.SIGINT)
    wait_for(pytester.path / "ending", process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert not (pytester.path / "out" / "report.json").exists()


def test_handlers_are_given_back(pytester: pytest.Pytester) -> None:
    """A run inside another process leaves that process's handlers as they were."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run_gate(pytester, "--collect-only", "-q", files=("budget",))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_report_that_is_not_written_fails_the_run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk a run whose tests pass ends with exit code 1, one sentence and no torso."""

    def full_disk(_: object, folder: Path) -> Path:
        (folder / "report.json").write_text("{", encoding="utf-8")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(summary, "write", full_disk)
    pytester.makepyfile("def test_good(): pass")
    result = pytester.runpytest_inprocess("-p", "editgate.plugin", "--report=out", "--store=store", "-p", "no:xdist")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["report: NOT written to out: No space left on device"])
    assert list((pytester.path / "out").iterdir()) == []


@pytest.mark.parametrize("compared", [False, True])
def test_a_refused_command_line_leaves_no_old_report(compared: bool, pytester: pytest.Pytester) -> None:  # noqa: FBT001
    """A typo is no reason to show the report of another run; one that the next try compares with stays."""
    old = pytester.mkdir("out") / "report.json"
    old.write_text("OLD", encoding="utf-8")
    options = [f"--report={old.parent}", *([f"--compare={old}"] if compared else [])]
    result = pytester.runpytest_inprocess("-p", "editgate.plugin", "--model=lama-mini", *options, "-p", "no:xdist")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert old.exists() == compared
