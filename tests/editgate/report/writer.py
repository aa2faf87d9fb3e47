"""Puts the report together and writes its files, each under its name only when it is whole."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from editgate.errors import ConfigError
from editgate.report.collector import Collector
from editgate.report.conclusion import conclude, ended_of
from editgate.report.data import items
from editgate.report.data.commit import commit_of
from editgate.report.data.tables import report_tables
from editgate.report.markdown import markdown
from editgate.report.run_report import RunReport, Subject
from editgate.report.safety import safety_line
from editgate.report.trajectory_summary import trajectory_summaries
from editgate.verdict.outcome import Cell

FILES = ("report.json", "report.md", "report.html", "items.jsonl")
FOLDERS = ("figures", "tables")
LIST_OF_FILES = ".editgate-files"  # names the written figures and tables: a folder may have others of these names
OURS = re.compile(rf"(?:{'|'.join(FOLDERS)})/[A-Za-z0-9_-]+\.(?:svg|png|csv|tex)")
FLIPS_SHOWN = 5  # of a cell, in report.json and report.md; a person reads a few, and items.jsonl has all


def build_report(
    subject: Subject,
    collector: Collector,
    collected: int,
    stopped: str = "",
    *,
    allowed_by: str = "",
    exit_code: int | None = None,
) -> RunReport:
    """Return the report of a run that has ended.

    Args:
        subject: what the run was about.
        collector: its results.
        collected: number of tests that were to run.
        stopped: why the run ended early; empty if it did not.
        allowed_by: what lets undecided verdicts pass; empty if nothing does.
        exit_code: pytest's; None: what pytest gives for these results.
    """
    cells, ran = tuple(collector.cells), len(collector.finished)
    ended = ended_of(stopped, ran, collected)
    return RunReport(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        ended=ended,
        ran=ran,
        collected=collected,
        conclusion=conclude(
            cells,
            other_failures=len(collector.problems),
            ended=ended,
            allowed_by=allowed_by,
            exit_code=exit_code,
        ),
        safety=safety_line(cells),
        subject=subject,
        budgets=tuple(trajectory_summaries(cells)),
        cells=cells,
        problems=tuple(collector.problems),
        commit=commit_of(Path.cwd()),
    )


def write(report: RunReport, folder: Path) -> Path:
    """Write the page, the Markdown, the JSON, all flipped items, and each figure and table; returns the page's path.

    `report.json` comes last: where it is, the rest is.

    Raises:
        OSError: the folder cannot be written.
    """
    from editgate.report.html.page import figure_files, page  # noqa: PLC0415 - it imports matplotlib, half a second

    tables = {f"tables/{table.name}": table for table in report_tables(report)}
    extra: dict[str, str | bytes] = {**figure_files(report)}
    for name, table in tables.items():
        extra |= {f"{name}.csv": table.csv(), f"{name}.tex": table.latex()}
    short = report.model_copy(update={"cells": tuple(_with_few_flips(report))})
    known = written_before(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_whole(folder / LIST_OF_FILES, "\n".join(sorted({*known, *extra})))
    for name, content in extra.items():
        (folder / name).parent.mkdir(exist_ok=True)
        _write_whole(folder / name, content)
    _write_whole(folder / "items.jsonl", items.as_lines(report))
    _write_whole(folder / "report.md", markdown(short))
    written = _write_whole(folder / "report.html", page(report))
    _write_whole(folder / "report.json", short.model_dump_json(indent=1) + "\n")
    for name in set(known) - set(extra):
        (folder / name).unlink(missing_ok=True)
    _write_whole(folder / LIST_OF_FILES, "\n".join(sorted(extra)))
    return written


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


def _with_few_flips(report: RunReport) -> list[Cell]:
    return [replace(cell, flips=cell.flips[:FLIPS_SHOWN]) for cell in report.cells]


def _write_whole(path: Path, content: str | bytes) -> Path:
    """Write under a temporary name, then rename: nobody reads half a report."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
