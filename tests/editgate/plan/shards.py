"""Shards: which part of the list each of several processes works, agreed without a word between them.

What decides is what all of them know: the command line, the editgate that is installed, and the number of the shard.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from editgate.errors import ConfigError
from editgate.inputs.files.validation import brief
from editgate.plan.tasks import Task, chains

FORM = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)


@dataclass(frozen=True)
class Shard:
    """Part `number` of `of`, from 1 on."""

    number: int
    of: int

    def __str__(self) -> str:
        """As on the command line."""
        return f"{self.number}/{self.of}"


def read(text: str | None) -> Shard | None:
    """Return the shard that `--shard` names; None if it is not given.

    Raises:
        ConfigError: it is not of the form NUMBER/OF, with a number from 1 to OF.
    """
    if text is None:
        return None
    found = FORM.fullmatch(text)
    number, of = (int(part) for part in found.groups()) if found else (0, 0)
    if not 1 <= number <= of:
        last = f"1/{of} to {of}/{of}" if of else "NUMBER/OF, such as 3/16"
        raise ConfigError(f"--shard {brief(text)} is no part of a whole. Allowed: {last}.")
    return Shard(number, of)


def part(tasks: Sequence[Task], shard: Shard, cost: Callable[[Task], float]) -> list[Task]:
    """Return the tasks of one shard, in their order: the most costly chain goes to the shard that has least, and so on.

    A trajectory is one chain, and each benchmark of an unedited model one of its own. (Longest processing time first:
    Graham 1969; no shard gets more than 4/3 of the best division, or than one chain where that is more.)
    """
    groups = [(sum(map(cost, group)), group) for group in chains(tasks)]
    groups.sort(key=lambda pair: (-pair[0], pair[1][0].id))
    loads = [0.0] * shard.of
    mine: set[str] = set()
    for total, group in groups:
        least = loads.index(min(loads))
        loads[least] += total
        if least == shard.number - 1:
            mine |= {task.id for task in group}
    return [task for task in tasks if task.id in mine]
