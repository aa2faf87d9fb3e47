"""Where lm-eval's tasks, groups and tags are defined: read from the files' own lines, in a second.

lm-eval's `TaskManager()` parses 14,000 files of YAML for this, which takes ten times as long. Only the few keys that
decide a name are read here; what a file says is read by lm-eval's own loader, once it is known which file is meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from editgate.cache.digest import digest_files
from editgate.errors import ConfigError

REGISTERED = Path(str(find_spec("lm_eval").origin)).parent / "tasks"  # type: ignore[union-attr]  # lm-eval is a dependency
KEY = re.compile(r"""^["']?(task|group|class|tag|include)["']?:[ \t]*(.*)$""", re.MULTILINE)
ENTRY = re.compile(r"^[ \t]*-[ \t]*(.*)$")
COMMENT = re.compile(r"\s+#.*$")
IGNORED = ("__pycache__", ".ipynb_checkpoints")
NEAR = 5  # names that may have been meant


@dataclass(frozen=True, slots=True)
class Entry:
    """What a name stands for.

    Attributes:
        kind: a task, a group of tasks, a tag that several tasks bear, or a task that is a Python class.
        file: where it is defined; None for a tag.
        members: the tasks that bear a tag.
    """

    kind: Literal["task", "group", "tag", "class"]
    file: Path | None = None
    members: tuple[str, ...] = ()


@cache
def registered(root: Path = REGISTERED) -> Mapping[str, Entry]:
    """Return what every name below a folder of tasks stands for, as lm-eval's own index has it."""
    found: dict[str, Entry] = {}
    bearing: dict[str, set[str]] = {}
    for file in sorted(root.rglob("*.yaml"), key=Path.as_posix):
        if any(part in IGNORED for part in file.parts):
            continue
        keys = _keys(file)
        name = (keys.get("group") or keys.get("task") or [""])[0]
        if "class" in keys:
            kind: Literal["task", "group", "class"] = "class"
            name = (keys.get("task") or [""])[0]
        else:
            kind = "group" if keys.get("group") else "task"
        if not name or found.setdefault(name, Entry(kind, file)).file != file or kind == "group":
            continue
        for tag in keys.get("tag", []):
            bearing.setdefault(tag, set()).add(name)
    for tag, members in bearing.items():
        if tag not in found:
            found[tag] = Entry("tag", members=tuple(sorted(members)))
    return found


@cache
def digest_of_registered(folder: str) -> str:
    """Return a sha256 of all of lm-eval's files in a folder of tasks, such as `mmlu/default`."""
    return digest_files(REGISTERED / folder)


def is_registered(name: str) -> bool:
    """Return whether a name stands for anything; of one whose file bears it, without a look at the 14,000 others."""
    usual = REGISTERED / name / f"{name}.yaml"
    keys = _keys(usual) if usual.is_file() else {}
    return name in {*keys.get("task", []), *keys.get("group", [])} or name in registered()


def entry_of(name: str, option: str) -> Entry:
    """Return what a name stands for.

    Raises:
        ConfigError: lm-eval has no such name; begins with `option`, and has the nearest names that there are.
    """
    known = registered()
    if name in known:
        return known[name]
    near = get_close_matches(name.lower(), known, n=NEAR, cutoff=0.7)
    meant = f" Did you mean {', '.join(near)}?" if near else ""
    raise ConfigError(
        f"{option}: lm-eval has no task, group or tag {name!r}.{meant} All names: lm-eval ls tasks; or give a task's "
        "YAML file."
    )


def _keys(file: Path, seen: frozenset[Path] = frozenset()) -> dict[str, list[str]]:
    """Return the values of the keys that decide a name, those of included files behind the file's own."""
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    own: dict[str, list[str]] = {}
    for number, line in enumerate(lines):
        match = KEY.match(line)
        if match is not None:
            values = [match[2]] if COMMENT.sub("", match[2]).strip() else list(_listed(lines[number + 1 :]))
            own[match[1]] = [text for value in values for text in _scalars(value)]
    inherited: dict[str, list[str]] = {}
    for included in own.pop("include", []):
        path = (file.parent / included).resolve()
        if path.is_file() and path not in seen:
            inherited |= _included(path, seen | {path})
    return {**inherited, **own}


@cache
def _included(path: Path, seen: frozenset[Path]) -> dict[str, list[str]]:
    return _keys(path, seen)


def _listed(lines: list[str]) -> Iterator[str]:
    """Yield the entries of a list below a key."""
    for line in lines:
        match = ENTRY.match(line)
        if match is not None:
            yield match[1]
        elif line.strip() and not line.lstrip().startswith("#"):
            return


def _scalars(value: str) -> list[str]:
    """Return the texts of a scalar or of a list in brackets; nothing of a mapping."""
    text = COMMENT.sub("", value).strip()
    parts = text[1:-1].split(",") if text.startswith("[") else [text]
    return [part.strip().strip("\"'") for part in parts if part.strip() and ": " not in part]
