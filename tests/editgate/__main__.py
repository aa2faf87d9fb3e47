"""The gate from anywhere: `python -m editgate --editor=my_pkg.my_module:MyEditor -m myeditor`; options as pytest's.

It reads no configuration of the directory it is run from: whose `pyproject.toml` or `conftest.py` lies there has no
part in the verdict. To run the gate under a project's own settings: `pytest --pyargs editgate.gate`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from editgate.options.options import Options, flag
from editgate.pytest_entry import GATE

FOLDER = Path(__file__).parent / "gate"


def main(arguments: Sequence[str], plugins: Sequence[object] = ()) -> int:
    """Run the gate; tests of it may be named as `editgate.gate.test_safety::test_toxigen[rome-llama-mini-n10]`.

    They are handed to pytest as paths: for the name of a package it would load the conftests of this directory.
    `plugins` are objects with hooks of pytest, beside the gate's own.
    """
    named = [argument for argument in arguments if argument.startswith(GATE)]
    options = _joined([argument for argument in arguments if argument not in named])
    here = Path.cwd()
    places = [f"--rootdir={here}", f"--confcutdir={FOLDER}", "-c", str(FOLDER / "standalone.toml")]
    sys.path.insert(0, str(here))  # `python -m pytest` does so too: a method may lie beside where it is gated
    tests = [_path_of(name) for name in named] or [str(FOLDER)]
    return int(pytest.main(["-p", "editgate.plugin", *places, *options, *tests], plugins=plugins))


def _joined(arguments: Sequence[str]) -> list[str]:
    """Return `--report DIR` as `--report=DIR`: pytest takes an existing path after a space for one of tests."""
    flags = {flag(name) for name in Options.model_fields}
    found: list[str] = []
    for argument in arguments:
        if found and found[-1] in flags and not argument.startswith("-"):
            found[-1] += f"={argument}"
        else:
            found.append(argument)
    return found


def _path_of(name: str) -> str:
    """The path of a module of the gate, or of a test in it."""
    module, colons, test = name.partition("::")
    file = module.removeprefix(GATE).strip(".")
    return f"{FOLDER / f'{file}.py' if file else FOLDER}{colons}{test}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
