"""Puts the report together and writes its three files, each under its name only when it is whole."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

from editgate.errors import ConfigError
from editgate.report.collector import Collector
from editgate.report.markdown import markdown
from editgate.report.run_report import RunReport, Subject, result_of
from editgate.report.safety import safety_line
from editgate.report.trajectory_summary import trajectory_summaries

FILES = ("report.json", "report.md", "report.html", "items.jsonl")
FOLDERS = ("figures", "tables")
LIST_OF_FILES = ".editgate-files"  # names the written figures and tables: a folder may have others of these names
OURS = re.compile(rf"(?:{'|'.join(FOLDERS)})/[\w-]+\.(?:svg|png|csv|tex)")


def build_report(subject: Subject, collector: Collector, collected: int, stopped: str = "") -> RunReport:
    """Return the report of a run that has ended.

    Args:
        subject: what the run was about.
        collector: its results.
        collected: number of tests that were to run.
        stopped: why the run ended early; empty if it did not.
    """
    cells, ran = tuple(collector.cells), len(collector.finished)
    missing = f"{ran} of {collected} tests ended" if ran < collected else ""
    ended = "; ".join(why for why in (stopped, missing) if why)
    return RunReport(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        ended=ended or "complete",
        ran=ran,
        collected=collected,
        result=result_of(cells, complete=not ended, others_passed=not collector.problems),
        safety=safety_line(cells),
        subject=subject,
        budgets=tuple(trajectory_summaries(cells)),
        cells=cells,
        problems=tuple(collector.problems),
    )


def write(report: RunReport, folder: Path) -> Path:
    """Write report.json, report.md and report.html; returns the page's path.

    Raises:
        OSError: the folder cannot be written.
    """
    from editgate.report.html.page import page  # noqa: PLC0415 - it imports matplotlib, which takes half a second

    folder.mkdir(parents=True, exist_ok=True)
    _write_whole(folder / "report.json", report.model_dump_json(indent=1) + "\n")
    _write_whole(folder / "report.md", markdown(report))
    return _write_whole(folder / "report.html", page(report))


def clear(folder: Path) -> None:
    """Remove what an earlier run wrote, and nothing else: a stale report must never stand for a run that wrote none.

    Raises:
        ConfigError: a file cannot be removed.
    """
    try:
        for name in (*written_before(folder), *FILES, LIST_OF_FILES):
            (folder / name).unlink(missing_ok=True)
        for name in FOLDERS:
            if (folder / name).is_dir() and not any((folder / name).iterdir()):
                (folder / name).rmdir()
    except OSError as error:
        raise ConfigError(
            f"--report {folder}: {error.filename or folder} of an earlier run cannot be removed "
            f"({error.strerror or error}). Remove it, or name another folder."
        ) from None


def written_before(folder: Path) -> list[str]:
    """Return the figures and tables that an earlier report wrote, as `figures/mmlu.svg`; never another file."""
    try:
        lines = (folder / LIST_OF_FILES).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return []
    return [line for line in lines if OURS.fullmatch(line)]


def check_writable(folder: Path) -> None:
    """Make the folder before anything runs.

    Raises:
        ConfigError: that fails, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_whole(folder / "report.probe", "").unlink()
    except OSError as error:
        raise ConfigError(
            f"--report {folder}: cannot be written ({error.strerror or error}). Name another folder."
        ) from None


def _write_whole(path: Path, text: str) -> Path:
    """Write under a temporary name, then rename: nobody reads half a report."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
