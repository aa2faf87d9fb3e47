"""Which packages decide which numbers: what the store keeps depends on their code.

After an update nobody may be shown a number that the code before it measured. Whole packages count, so that a new
module is covered by construction; what is printed, asked for or reported may change without measuring anything again.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import editgate
from editgate.cache.digest import code_digest

HOME = Path(editgate.__file__).parent
INFERENCE = ("compat", "inference")  # how a model is asked
MEASURE = (*INFERENCE, "measure")  # trajectories, edit quality, perplexity
SCORING = (*MEASURE, "inputs")  # and what is asked: benchmarks, their documents and prompts


@cache
def code_of(*packages: str) -> str:
    """Return a sha256 of the code of some of editgate's own packages and modules, such as `code_of(*SCORING)`."""
    paths = (HOME / name for name in packages)
    return code_digest(*(path if path.is_dir() else path.with_suffix(".py") for path in paths))
