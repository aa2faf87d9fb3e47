"""The command line of the programs beside the gate (`python -m editgate.tune`, …): its options, and their own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


class Parser(argparse.ArgumentParser):
    """Takes the gate's options (`options.add_to`), but for those that have no meaning for a program.

    Args:
        name: how the program is called.
        does: what it does, in a sentence.
        not_taken: options of the gate that it does not take, such as `--report`.
    """

    def __init__(self, name: str, does: str, *, not_taken: Sequence[str]) -> None:
        super().__init__(prog=f"python -m {name}", description=does, epilog="All other options are the gate's.")
        self._not_taken = frozenset(not_taken)

    def addoption(self, *names: str, **attributes: Any) -> None:  # noqa: ANN401 - argparse's own
        """Add one of the gate's options."""
        if not {*names} & self._not_taken:
            self.add_argument(*names, **attributes)
