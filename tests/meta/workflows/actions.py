"""Stands in for the actions of others that ours use: each does on this machine what its documentation says."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from meta.workflows.printed import WorkflowError
from meta.workflows.runner import Machine, StandIn, copy_repository


def checkout(machine: Machine, given: Mapping[str, str]) -> None:
    """Lay the caller's repository into the workspace."""
    _only(given, {"persist-credentials"})
    copy_repository(machine.caller, machine.workspace)


def setup_python(machine: Machine, given: Mapping[str, str]) -> None:
    """Put a Python first on the path; which release it is, is not checked."""
    _only(given, {"python-version"})
    machine.paths.append(str(machine.python))


def restore_cache(machine: Machine, given: Mapping[str, str]) -> None:
    """Lay back what was saved under the key, or else the newest under a key that begins with a restore key."""
    _only(given, {"path", "key", "restore-keys"})
    saved = machine.services / "caches"
    wanted = [saved / given["key"]]
    for prefix in given.get("restore-keys", "").split():
        wanted += sorted(saved.glob(f"{prefix}*"), key=lambda entry: entry.stat().st_mtime, reverse=True)
    entry = next((entry for entry in wanted if entry.is_dir()), None)
    if entry is not None:
        shutil.copytree(entry, given["path"], dirs_exist_ok=True)


def save_cache(machine: Machine, given: Mapping[str, str]) -> None:
    """Save a folder under a key; a key that is taken keeps what it has, and a missing folder is only a warning."""
    _only(given, {"path", "key"})
    entry = machine.services / "caches" / given["key"]
    if not entry.exists() and (machine.home / given["path"]).is_dir():
        shutil.copytree(given["path"], entry)


def upload_artifact(machine: Machine, given: Mapping[str, str]) -> None:
    """Keep a folder under a name, which must not be taken and has no character that a file's name cannot have."""
    _only(given, {"name", "path", "if-no-files-found"})
    if any(character in given["name"] for character in '":<>|*?\r\n\\/'):
        raise WorkflowError(f"upload-artifact: {given['name']!r} is no name of an artifact")
    target = machine.services / "artifacts" / given["name"]
    if target.exists():
        raise WorkflowError(f"upload-artifact: an artifact {given['name']} exists in this run")
    for line in given["path"].splitlines():
        if (machine.workspace / line).is_dir():
            shutil.copytree(machine.workspace / line, target, dirs_exist_ok=True)


def _only(given: Mapping[str, str], known: set[str]) -> None:
    if unknown := set(given) - known:
        raise WorkflowError(f"{sorted(unknown)}: not known to this stand-in")


STAND_INS: Mapping[str, StandIn] = {
    "actions/checkout": checkout,
    "actions/setup-python": setup_python,
    "actions/cache/restore": restore_cache,
    "actions/cache/save": save_cache,
    "actions/upload-artifact": upload_artifact,
}
