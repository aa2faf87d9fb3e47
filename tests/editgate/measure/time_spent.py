"""What the time of a run goes to, by kind of work; each second counts once, for the innermost kind.

with keeping() as spent:
    with spending("asking mmlu"):  # the edits that it takes to have the model count as "editing"
        ...
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class Spent:
    """Wall seconds by kind of work, of one process.

    Attributes:
        seconds: by kind.
    """

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _kinds: list[str] = field(default_factory=list)  # that are going on, the innermost last
    _since: float = 0.0

    def change(self, kind: str | None) -> None:
        """Begin a kind of work inside the present one; None ends the innermost."""
        now = time.monotonic()
        if self._kinds:
            self.seconds[self._kinds[-1]] += now - self._since
        self._since = now
        if kind is None:
            self._kinds.pop()
        else:
            self._kinds.append(kind)


_SPENT: ContextVar[Spent | None] = ContextVar("spent", default=None)


@contextmanager
def keeping(spent: Spent) -> Iterator[None]:
    """Inside, what `spending` names is added to `spent`."""
    token = _SPENT.set(spent)
    try:
        yield
    finally:
        _SPENT.reset(token)


@contextmanager
def spending(kind: str) -> Iterator[None]:
    """Inside, time is spent on this kind of work, as far as nothing inside says otherwise."""
    spent = _SPENT.get()
    if spent is None:
        yield
        return
    spent.change(kind)
    try:
        yield
    finally:
        spent.change(None)
