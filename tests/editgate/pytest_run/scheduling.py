"""On which worker tests run, and when: a trajectory on one, the longest first; on several if some would have none."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from xdist.scheduler import LoadScopeScheduling

from editgate.cases import trajectory_in
from editgate.pytest_run.selection import MANY

ALONE = "method-"  # how ids of tests begin that run a whole method: one file of them would keep one worker busy alone
AFTER = " after "  # between a trajectory and N


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

    Where there are fewer trajectories than workers, each goes rule by rule and N by N instead, the smaller first: who
    comes to an N edits up to it, from the checkpoint that another worker left in the store.

    Args:
        trajectories: how long each is expected to take; only the order matters.
        room: whether there is room for a model in every worker, and not only where a trajectory needs it.
    """

    def __init__(self, config: pytest.Config, log: object, trajectories: Mapping[str, float], *, room: bool) -> None:
        super().__init__(config, log)
        self._seconds, self._room = trajectories, room
        self._one_by_one = False  # the Ns of a trajectory

    def schedule(self) -> None:
        """See whether there are fewer trajectories than workers, and hand out the first tests."""
        tests = next(iter(self.registered_collections.values()))
        self._one_by_one = (
            self._room and len({trajectory_in(test, self._seconds) for test in tests} - {""}) < self.numnodes
        )
        super().schedule()

    def _assign_work_unit(self, node: object) -> None:
        """Give a worker the longest trajectory, then what has the most tests, which is xdist's order."""
        self.workqueue.move_to_end(max(self.workqueue, key=self._urgency), last=False)
        super()._assign_work_unit(node)

    def _urgency(self, scope: str) -> tuple[float, int]:
        whole, _, count = scope.partition(AFTER)
        return self._seconds.get(trajectory_in(scope, self._seconds) or whole, 0.0), -int(count or 0)

    def _split_scope(self, nodeid: str) -> str:
        """Return the trajectory that a test's id begins with, else its file; tests that are long each go alone."""
        file, _, parameters = nodeid.partition("[")
        if parameters.startswith(ALONE):
            return nodeid
        trajectory = trajectory_in(nodeid, self._seconds)
        if not trajectory or not self._one_by_one:
            return trajectory or file.partition("::")[0]
        if parameters == f"{trajectory}]":  # its curve, or the search for its edit budget
            return f"{trajectory}{AFTER}{MANY}"
        count = re.search(r"-n(\d+)\]$", parameters)
        return f"{trajectory}{AFTER}{count[1]}" if count else nodeid  # a rule of integrity
