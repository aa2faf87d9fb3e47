"""Which commit a run was about, if that is known."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

SHOWN = 12  # characters
PATIENCE = 10  # seconds


@cache
def commit_of(folder: Path) -> str:
    """Return the commit that is checked out in a folder, with `+` if tracked files were changed; empty if unknown."""
    head = _git(folder, "rev-parse", f"--short={SHOWN}", "HEAD")
    if not head:
        return ""
    return f"{head}+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else head


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command; the folder is an argument of its own
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):  # no git here, or a file system that does not answer
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
