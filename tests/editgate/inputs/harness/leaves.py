"""A task, group or tag of lm-eval, taken apart into the tasks that ask questions, each with its whole configuration.

Groups may override what their tasks say, and hold groups, tags and tasks that are written out in place. What is
resolved here is what lm-eval's `TaskManager.load` builds, without the documents that building a task would fetch.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from editgate.errors import ConfigError
from editgate.inputs.benchmarks import Leaf
from editgate.inputs.harness.index import REGISTERED, Entry, entry_of, registered

Config = Mapping[str, Any]
STRUCTURE = ("group", "task_list", "tag")  # keys of a task's file that are about its place, not about the task
YAML = (".yaml", ".yml")


def find(wanted: str, option: str) -> tuple[str, tuple[Leaf, ...]]:
    """Return the name of a task, group or tag, and the tasks that it asks.

    Args:
        wanted: its name, or the path of a YAML file.
        option: how an error calls it, such as "--benchmarks arc_easyy".

    Raises:
        ConfigError: there is no such name or file, the file defines no task, or its code cannot be imported.
    """
    if not wanted.endswith(YAML):
        return wanted, _distinct(_of_entry(wanted, entry_of(wanted, option), {}, option), option)
    file = Path(wanted).expanduser().resolve()
    if not file.is_file():
        raise ConfigError(
            f"{option}: there is no such file. Allowed: a name that lm-eval knows, or a task's YAML file."
        )
    config = _read(file, option)
    if isinstance(name := config.get("group"), str):
        return name, _distinct(_of_group(name, config, {}, option), option)
    if isinstance(name := config.get("task"), str):
        return name, (_leaf(name, config, {}, option),)
    raise ConfigError(f"{option}: the file defines no task: it has neither task: NAME nor group: NAME.")


def definition(leaves: tuple[Leaf, ...]) -> str:
    """Return a digest of what leaves are: of their configuration, and of the code that a user's own files name."""

    def code(value: object) -> str:
        source = Path(inspect.getsourcefile(value) or "") if callable(value) else Path()
        if not source.is_file():
            return repr(value)
        name = getattr(value, "__qualname__", type(value).__name__)
        if source.is_relative_to(REGISTERED):
            return f"{source.relative_to(REGISTERED)}:{name}"  # the release of lm-eval is part of every key
        files = sorted(source.parent.glob("*.py"))
        return f"{name}:{[hashlib.sha256(file.read_bytes()).hexdigest() for file in files]}"

    texts = [json.dumps([leaf.task, dict(leaf.config)], default=code) for leaf in leaves]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _distinct(leaves: Iterator[Leaf], option: str) -> tuple[Leaf, ...]:
    found: dict[str, Leaf] = {}
    for leaf in leaves:
        found.setdefault(leaf.task, leaf)  # a task that several parts of a group hold is asked once
    if not found:
        raise ConfigError(f"{option}: there is no task in it.")
    return tuple(found[name] for name in sorted(found))


def _of_entry(name: str, entry: Entry, overrides: Config, option: str) -> Iterator[Leaf]:
    if entry.kind == "tag":
        for member in entry.members:
            yield from _of_entry(member, entry_of(member, option), overrides, option)
        return
    assert entry.file is not None  # a tag alone has none
    if entry.kind == "class":
        raise ConfigError(
            f"{option}: lm-eval's {name} is a Python class with scoring of its own, which cannot be asked here. "
            "Allowed: tasks that a YAML file defines."
        )
    config = _read(entry.file, option)
    if entry.kind == "group":
        yield from _of_group(name, config, overrides, option)
    else:
        yield _leaf(name, config, overrides, option)


def _of_group(name: str, config: Config, overrides: Config, option: str) -> Iterator[Leaf]:
    from editgate.compat.lm_eval import group_fields  # noqa: PLC0415 - lm-eval takes a second to import

    own = {key: value for key, value in config.items() if key not in group_fields()}
    below = {**own, **overrides}
    members = config.get("task")
    for member in members if isinstance(members, list) else [members] if members else []:
        if isinstance(member, str):
            yield from _of_entry(member, entry_of(member, option), below, option)
            continue
        given = {key: value for key, value in member.items() if key not in {"task", "group"}}
        child = member.get("group") or member.get("task")
        if child in registered():
            yield from _of_entry(child, entry_of(child, option), {**below, **given}, option)
        elif "group" in member:
            yield from _of_group(f"{name}::{child}", member, below, option)
        else:
            yield _leaf(f"{name}::{child}", {**below, **given}, {}, option)


def _leaf(name: str, config: Config, overrides: Config, option: str) -> Leaf:
    whole = {key: value for key, value in {**config, **overrides}.items() if key not in STRUCTURE}
    if isinstance(whole.get("class"), str | type):
        raise ConfigError(f"{option}: {name} is a Python class, which cannot be asked here.")
    return Leaf(name, {**whole, "task": name})


def _read(file: Path, option: str) -> dict[str, Any]:
    """Return a task's file with the functions that it names, imported."""
    from editgate.compat.lm_eval import load_task_file, quiet  # noqa: PLC0415 - as above

    try:
        with quiet():
            unsafe = load_task_file(file, functions=False).get("unsafe_code")
            found = {} if unsafe else load_task_file(file, functions=True)
    except ModuleNotFoundError as error:
        missing = f"the module {error.name}" if error.name else " ".join(str(error).split())
        raise ConfigError(f"{option}: its scoring needs what is not installed here: {missing}.") from error
    except Exception as error:  # whatever the code beside a task's file raises when it is imported, and YAML itself
        said = " ".join(str(error).split())
        raise ConfigError(f"{option}: {file} cannot be read ({type(error).__name__}: {said}).") from error
    if unsafe:
        raise ConfigError(f"{option}: {file.stem} runs code that the model writes, which is not done here.")
    return found
