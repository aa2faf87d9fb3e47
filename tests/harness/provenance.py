"""Which files of the machine room decide which numbers: what the store keeps depends on their text.

After an update nobody may be shown a number that the code before it measured. The rest of the machine room (what is
printed, asked for, reported) may change without measuring anything again.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tests import harness
from tests.harness.store import code_digest

HERE = Path(harness.__file__).parent
# What a model is asked with, whatever is asked.
ANSWERING = (
    *("backend", "cutter", "engine", "kv", "lm", "plain", "prefixes"),
    *("routed", "shared_prefix", "wrapped_lm"),
)
# A trajectory's checkpoints, and what is measured after each edit.
EDITING = (*ANSWERING, "items", "probes", "quality", "threads", "trajectory")
# The outcome of a benchmark's items.
SCORING = (*ANSWERING, "benchmarks", "document_files", "evaluate", "items", "probes", "sources", "task_specs", "tasks")
# The rules of integrity.
RULES = (*SCORING, *EDITING, "integrity", "patched", "patched_rules")
# How surprised a model is by ordinary text.
SURPRISE = (*ANSWERING, "surprise")
NUMBERLESS = ("errors", "hub", "quiet")  # words, a network's failures, what a library prints


@cache
def digest(modules: tuple[str, ...]) -> str:
    """A sha256 of the named modules' files."""
    return code_digest(*(HERE / f"{name}.py" for name in modules))
