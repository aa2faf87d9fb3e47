"""Runs blocks as a reader does: one after another in one shell, whose directory and variables last."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meta.docs.blocks import Block

SHELL = ("bash", "--noprofile", "--norc", "-eo", "pipefail")
KEEP = """
_editgate_keep() { export -p >"$EDITGATE_STATE/variables"; pwd >"$EDITGATE_STATE/directory"; }
trap _editgate_keep EXIT
cd "$(cat "$EDITGATE_STATE/directory")"
. "$EDITGATE_STATE/variables"
"""


@dataclass(frozen=True)
class Done:
    """What a block printed, both streams in their order, and its exit code."""

    printed: str
    code: int


class Shell:
    """A shell in a directory; what a block exports, and where it goes, is kept for the next.

    Args:
        directory: where it begins.
        variables: its environment.
        state: an empty folder for what is kept.
    """

    def __init__(self, directory: Path, variables: Mapping[str, str], state: Path) -> None:
        self._variables = {**variables, "EDITGATE_STATE": str(state)}
        self._state = state
        (state / "directory").write_text(str(directory), encoding="utf-8")
        (state / "variables").write_text("", encoding="utf-8")

    @property
    def directory(self) -> Path:
        """Where the last block left the shell."""
        return Path((self._state / "directory").read_text(encoding="utf-8").rstrip("\n"))

    def write(self, file: str, text: str) -> None:
        """Write the reader's own file, below where the shell stands."""
        path = self.directory / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def run(self, block: Block, *, each: bool = False) -> Done:
        """Run a block as it stands: commands by bash, ending at the first that fails, and Python by `python`.

        With `each`, all lines run, and the highest exit code counts.
        """
        if each:
            lines = [self._run(line, f"{block.line}_{at}") for at, line in enumerate(block.text.splitlines())]
            return Done("".join(done.printed for done in lines), max(done.code for done in lines))
        if block.language != "python":
            return self._run(block.text, str(block.line))
        code = self._state / f"block_{block.line}.py"
        code.write_text(block.text, encoding="utf-8")
        return self._run(f'python - <"{code}"', str(block.line))

    def _run(self, lines: str, name: str) -> Done:
        script = self._state / f"block_{name}.sh"
        script.write_text(KEEP + lines, encoding="utf-8")
        done = subprocess.run(  # noqa: S603 - our own pages
            [*SHELL, str(script)],
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Done(done.stdout, done.returncode)
