"""In which order tests run, and on which worker: rules before benchmarks, a trajectory on one worker."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling

FILES = (
    "test_integrity",
    "test_baselines",
)  # first, in this order; then the gate, the tests of the suite itself last
FINDINGS = "test_findings.py"
ALONE = "method-"  # how ids of tests begin that run a whole method: one file of them would keep one worker busy alone


class ByTrajectory(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    """Sends all tests of one trajectory to one worker, the others file by file.

    xdist's own `--dist loadgroup` scatters groups with pytest 9.2 without a word.
    """

    def __init__(self, config: pytest.Config, log: object, runs: Sequence[str]) -> None:
        super().__init__(config, log)
        self._runs = sorted(runs, key=len, reverse=True)

    def _split_scope(self, nodeid: str) -> str:
        """Return the trajectory that a test's id begins with, else its file; tests that are long each go alone.

        So do findings: they wait for sweeps that the other workers measure meanwhile.
        """
        place, _, inside = nodeid.partition("[")
        if inside.startswith(ALONE):
            return str(nodeid)
        run = next((run for run in self._runs if inside.startswith((f"{run}-", f"{run}]"))), None)
        return run or (str(nodeid) if FINDINGS in place else place.partition("::")[0])


def order_of(item: pytest.Item) -> int:
    """Return a sort key that keeps collection order within each group."""
    if "meta" in item.path.parts:
        return len(FILES) + 1
    return FILES.index(item.path.stem) if item.path.stem in FILES else len(FILES)
