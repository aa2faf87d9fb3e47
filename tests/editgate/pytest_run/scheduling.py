"""On which worker tests run: a trajectory on one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling

ALONE = "method-"  # how ids of tests begin that run a whole method: one file of them would keep one worker busy alone


class ByTest(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    """Sends each test to any worker."""

    def __init__(self, config: pytest.Config, log: object) -> None:
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        """Return the group of a test: itself."""
        return nodeid


class ByTrajectory(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    """Sends all tests of one trajectory to one worker, the others file by file.

    xdist's own `--dist loadgroup` scatters groups with pytest 9.2 without a word.
    """

    def __init__(self, config: pytest.Config, log: object, trajectories: Sequence[str]) -> None:
        super().__init__(config, log)
        self._trajectories = sorted(trajectories, key=len, reverse=True)

    def _split_scope(self, nodeid: str) -> str:
        """Return the trajectory that a test's id begins with, else its file; tests that are long each go alone."""
        file, _, parameters = nodeid.partition("[")
        if parameters.startswith(ALONE):
            return nodeid
        found = (name for name in self._trajectories if parameters.startswith((f"{name}-", f"{name}]")))
        return next(found, file.partition("::")[0])
