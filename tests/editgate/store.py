"""Says what a store holds, and makes room in it while runs may use it.

    python -m editgate.store --store=DIR
    python -m editgate.store prune --older-than=30d --max-size=20GB --store=DIR

The age of an entry is the time since it was last written or read. What a run that is alive has used stays.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ByteSize
from rich.console import Console
from rich.table import Table

from editgate import inert
from editgate.cache import users
from editgate.cache.contents import KINDS, Held, contents
from editgate.cache.pruning import Pruned, prune
from editgate.options.sizes import in_bytes

DEFAULT = Path(".editgate")
SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}
AGE = re.compile(r"(\d+(?:\.\d+)?)([mhdw])")
LARGE = 1e6  # of any unit: older than any file


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


@dataclass(frozen=True)
class Row:
    """What a store holds of one kind.

    Attributes:
        number: of entries.
        size: bytes.
        oldest, newest: last uses, in seconds since the epoch; 0 if there is nothing.
    """

    number: int
    size: int
    oldest: float
    newest: float

    @classmethod
    def of(cls, held: Sequence[Held]) -> Row:
        """Count them."""
        used = [each.used for each in held] or [0.0]
        return cls(len(held), sum(each.size for each in held), min(used), max(used))

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"entries": self.number, "bytes": self.size, "oldest_use": self.oldest, "newest_use": self.newest}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, prune if that was asked, and show what the store holds."""
    parser = _parser()
    given = parser.parse_args(arguments)
    _check(parser, given)
    root, pruning = given.store, given.command == "prune"
    try:
        done = (
            prune(root, older_than=given.older_than, max_size=given.max_size, dry_run=given.dry_run)
            if pruning
            else Pruned((), tuple(contents(root)), len(users.alive(root)))
        )
    except OSError as error:
        parser.error(f"--store {str(root)!r} cannot be used: {error.strerror or error} ({error.filename or root}).")
    left = given.max_size if pruning and given.max_size is not None and _size(done.kept) > given.max_size else None
    if given.json:
        sys.stdout.write(json.dumps(_as_json(root, done, dry_run=given.dry_run), indent=2) + "\n")
    else:
        show(root, done, pruned=pruning, dry_run=given.dry_run)
        if left is not None:
            runs = "a run uses" if done.runs == 1 else f"{done.runs} runs use"
            sys.stdout.write(f"That is more than --max-size {_shown(left)}: the rest is what {runs} now.\n")
    sys.exit(0 if left is None else 1)


def _check(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """Refuse what does not go together."""
    asked = given.older_than is not None or given.max_size is not None
    if not given.store.is_dir():
        parser.error(f"--store {str(given.store)!r} is no folder. Allowed: one that runs were given, or {DEFAULT}.")
    if given.command and not asked:
        parser.error("prune needs --older-than AGE, --max-size SIZE, or both: --older-than=30d --max-size=20GB.")
    if not given.command and (asked or given.dry_run):
        parser.error("--older-than, --max-size and --dry-run go with prune: python -m editgate.store prune …")


def show(root: Path, done: Pruned, *, pruned: bool, dry_run: bool) -> None:
    """Print a table: a row a kind, the largest first, and what goes or went."""
    table = Table(box=None, pad_edge=False)
    for heading in ("kind", "what it is"):
        table.add_column(heading)
    for heading in ("entries", "size", "last used", *(("would go" if dry_run else "removed",) * pruned)):
        table.add_column(heading, justify="right")
    for kind, (kept, removed) in _by_kind(done).items():
        row = Row.of(kept)
        gone = [_told(removed)] if pruned else []
        table.add_row(kind, KINDS.get(kind, ""), str(row.number), _shown(row.size), _ages(row), *gone)
    everything = Row.of(done.kept)
    gone = [_told(done.removed)] if pruned else []
    table.add_row("all", "", str(everything.number), _shown(everything.size), _ages(everything), *gone, style="bold")
    sys.stdout.write(f"store {inert.terminal(str(root))}\n")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if done.runs:
        sys.stdout.write("1 run uses it now\n" if done.runs == 1 else f"{done.runs} runs use it now\n")


def _by_kind(done: Pruned) -> dict[str, tuple[list[Held], list[Held]]]:
    """What is kept and what was removed of each kind, the largest first."""
    rows: dict[str, tuple[list[Held], list[Held]]] = {}
    for place, every in enumerate((done.kept, done.removed)):
        for held in every:
            rows.setdefault(held.kind, ([], []))[place].append(held)
    return dict(sorted(rows.items(), key=lambda row: (-_size([*row[1][0], *row[1][1]]), row[0])))


def _as_json(root: Path, done: Pruned, *, dry_run: bool) -> dict[str, Any]:
    kinds = {
        kind: {"kept": Row.of(kept).to_json(), "removed": Row.of(removed).to_json()}
        for kind, (kept, removed) in _by_kind(done).items()
    }
    total = {"kept": Row.of(done.kept).to_json(), "removed": Row.of(done.removed).to_json()}
    return {"store": str(root), "runs": done.runs, "dry_run": dry_run, "total": total, "kinds": kinds}


def _size(held: Sequence[Held]) -> int:
    return sum(each.size for each in held)


def _told(removed: Sequence[Held]) -> str:
    return f"{len(removed)} ({_shown(_size(removed))})" if removed else "-"


def _shown(size: int) -> str:
    return str(ByteSize(size).human_readable(decimal=True, separator=" "))


def _ages(row: Row) -> str:
    """The oldest and the newest use, such as `3 d to 2 h ago`."""
    if not row.number:
        return "-"
    old, new = (_age(time.time() - used) for used in (row.oldest, row.newest))
    return f"{new} ago" if old == new else f"{old} to {new} ago"


def _age(seconds: float) -> str:
    unit = next((unit for unit in "dhm" if seconds >= SECONDS[unit]), "m")
    return f"{max(seconds, 0) / SECONDS[unit]:.0f} {unit.replace('m', 'min')}"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m editgate.store", description="What a store holds; `prune` makes room in it.")
    parser.add_argument("command", nargs="?", choices=["prune"], help="make room; without it the store is only shown")
    parser.add_argument("--store", type=Path, default=DEFAULT, metavar="DIR", help="Default: %(default)s")
    parser.add_argument("--older-than", type=_seconds, metavar="AGE", help="what was not used so long goes: 30d, 12h")
    parser.add_argument(
        "--max-size",
        type=_bytes,
        metavar="SIZE",
        help="the least recently used goes until no more is left: 20GB",
    )
    parser.add_argument("--dry-run", action="store_true", help="remove nothing, say what would go")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _seconds(text: str) -> float:
    found = AGE.fullmatch(text)
    if found is None or float(found[1]) > LARGE:
        raise argparse.ArgumentTypeError(f"{text!r} is no age. Allowed: a number with m, h, d or w: 12h, 30d.")
    return float(found[1]) * SECONDS[found[2]]


def _bytes(text: str) -> int:
    try:
        return in_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size. Allowed: a number with B, MB, GB, TB, MiB or GiB, such as 500MB or 20GB."
        ) from error


if __name__ == "__main__":
    main()
