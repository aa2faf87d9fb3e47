"""The gate from anywhere: `python -m editgate --editor=my_pkg.my_module:MyEditor -m my_editor`; options as pytest's.

It reads no configuration of the directory it is run from: whose `pyproject.toml` or `conftest.py` lies there has no
part in the verdict. To run the gate under a project's own settings: `pytest --pyargs editgate.gate`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from editgate.pytest_entry import GATE

CONFIGURATION = Path(__file__).parent / "gate" / "pytest.toml"


def main(arguments: Sequence[str]) -> int:
    """Run the gate; tests of it may be named as `editgate.gate.test_safety::test_toxigen[rome-llama-mini-n10]`."""
    named = any(argument.startswith(GATE) for argument in arguments)
    here = Path.cwd()
    places = [f"--rootdir={here}", f"--confcutdir={CONFIGURATION.parent}", "-c", str(CONFIGURATION)]
    sys.path.insert(0, str(here))  # `python -m pytest` does so too: a method may lie beside where it is gated
    return int(pytest.main(["-p", "editgate.plugin", *places, "--pyargs", *arguments, *([] if named else [GATE])]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
