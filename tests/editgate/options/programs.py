"""The command line of the programs beside the gate (`python -m editgate.tune`, …): its options, and their own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from editgate.errors import ConfigError, EvaluationError
from editors import EditorError


class Parser(argparse.ArgumentParser):
    """Takes the gate's options (`options.add_to`), but for those that have no meaning for a program.

    Args:
        name: how the program is called.
        does: what it does, in a sentence.
        not_taken: options of the gate that it does not take, such as `--report`.
    """

    def __init__(self, name: str, does: str, *, not_taken: Sequence[str]) -> None:
        super().__init__(prog=f"python -m {name}", description=does, epilog="All other options are the gate's.")
        self._not_taken = frozenset({*not_taken, "--shard", "--ray", "--ray-worker"})  # no program works a plan

    def addoption(self, *names: str, **attributes: Any) -> None:  # noqa: ANN401 - argparse's own
        """Add one of the gate's options."""
        if not {*names} & self._not_taken:
            self.add_argument(*names, **attributes)

    @contextmanager
    def ending_in_a_sentence(self) -> Iterator[None]:
        """Inside, what is wrong ends the program with its sentence: exit code 2 if it was asked wrongly, else 1."""
        try:
            yield
        except ConfigError as error:
            self.exit(2, f"{self.prog}: {error}\n")
        except (EvaluationError, EditorError) as error:
            sys.exit(f"{type(error).__name__}: {error}")
