"""How many inputs the tests of the readers try: ten times as many at night, where EDITGATE_NIGHTLY is set."""

from __future__ import annotations

import os


def examples(ordinary: int) -> int:
    """Return the number of examples for hypothesis: ten times as many at night."""
    return ordinary * (10 if "EDITGATE_NIGHTLY" in os.environ else 1)
