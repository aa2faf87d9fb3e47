"""What could not be had once is not tried again in the same run: a hub, a file or a model that is broken stays so."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from editgate.errors import EditgateError, EvaluationError


class TriedOnce:
    """Remembers what failed, by name, in words: an exception itself would keep a model alive with its frames."""

    def __init__(self) -> None:
        self._failed: dict[Hashable, EditgateError] = {}

    @contextmanager
    def trying(self, what: Hashable) -> Iterator[None]:
        """Run the block; if it failed before under this name, fail at once and the same way.

        Raises:
            EditgateError: what was raised then; an error of somebody else's comes back as an EvaluationError.
        """
        if what in self._failed:
            before = self._failed[what]
            raise type(before)(*before.args)
        try:
            yield
        except EditgateError as error:
            self._failed[what] = type(error)(*error.args)
            raise
        except Exception as error:
            first = f"{type(error).__name__}: {error}".partition("\n")[0]
            self._failed[what] = EvaluationError(f"{first} (as before; not tried again in this run)")
            raise
