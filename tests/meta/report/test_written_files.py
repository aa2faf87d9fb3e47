"""The files of a report: all of an earlier run's go, and no other file of the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from editgate.errors import ConfigError
from editgate.report.writer import FILES, LIST_OF_FILES, clear


def files(folder: Path) -> set[str]:
    """Return every file below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_only_what_a_report_wrote_is_removed(tmp_path: Path) -> None:
    """A person's own figures stay, and so does whatever a forged list names outside the two folders."""
    (tmp_path / "out" / "figures").mkdir(parents=True)
    mine = {"mine.txt", "out/figures/own.svg", "out/notes.md", "out/figures/x.py"}
    for name in mine:
        (tmp_path / name).touch()
    for name in FILES:
        (tmp_path / "out" / name).touch()
    (tmp_path / "out" / "figures" / "mmlu.svg").touch()
    listed = ["figures/mmlu.svg", "figures/gone.png", "../mine.txt", "figures/../notes.md", "notes.md", "figures/x.py"]
    (tmp_path / "out" / LIST_OF_FILES).write_text("\n".join(listed), encoding="utf-8")
    clear(tmp_path / "out")
    assert files(tmp_path) == mine


def test_nothing_to_clear_is_no_error(tmp_path: Path) -> None:
    """A folder that does not exist yet is clear."""
    clear(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_cannot_be_removed_is_named(tmp_path: Path) -> None:
    """A folder in the place of a file is a usage error that names it."""
    (tmp_path / "report.json" / "deep").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"--report .*report\.json of an earlier run cannot be removed"):
        clear(tmp_path)
