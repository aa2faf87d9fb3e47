"""On which worker tests run, and when: a trajectory on one, the longest first."""

from __future__ import annotations

from collections.abc import Mapping

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

    Trajectories begin before everything else, the longest first: one that began last would keep one worker busy while
    the others have nothing left to do. xdist's own `--dist loadgroup` scatters groups with pytest 9.2 without a word.

    Args:
        trajectories: how long each is expected to take; only the order matters.
    """

    def __init__(self, config: pytest.Config, log: object, trajectories: Mapping[str, float]) -> None:
        super().__init__(config, log)
        self._seconds = trajectories
        self._trajectories = sorted(trajectories, key=len, reverse=True)

    def _assign_work_unit(self, node: object) -> None:
        """Give a worker the longest trajectory, then what has the most tests, which is xdist's order."""
        longest = max(self.workqueue, key=lambda scope: self._seconds.get(scope, 0.0))
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)

    def _split_scope(self, nodeid: str) -> str:
        """Return the trajectory that a test's id begins with, else its file; tests that are long each go alone."""
        file, _, parameters = nodeid.partition("[")
        if parameters.startswith(ALONE):
            return nodeid
        found = (name for name in self._trajectories if parameters.startswith((f"{name}-", f"{name}]")))
        return next(found, file.partition("::")[0])
