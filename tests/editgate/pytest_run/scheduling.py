"""On which worker tests run, and when: a trajectory on one, the longest first; on several if some would have none."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from xdist.scheduler import LoadScopeScheduling

from editgate.cases import trajectory_in
from editgate.pytest_run.selection import MANY

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
        self._urgency: dict[str, tuple[float, int]] = {}  # of each scope

    def schedule(self) -> None:
        """See whether there are fewer trajectories than workers and what is urgent, and hand out the first tests."""
        tests = next(iter(self.registered_collections.values()))
        about = {test: trajectory_in(test, self._seconds) for test in tests}
        self._one_by_one = self._room and len({*about.values()} - {""}) < self.numnodes
        for test, trajectory in about.items():
            count = _count(test, trajectory) if self._one_by_one and trajectory else 0
            self._urgency[self._split_scope(test)] = (self._seconds.get(trajectory, 0.0), -count)
        super().schedule()

    def _assign_work_unit(self, node: object) -> None:
        """Give a worker the longest trajectory, then what has the most tests, which is xdist's order."""
        self.workqueue.move_to_end(max(self.workqueue, key=self._urgency.__getitem__), last=False)
        super()._assign_work_unit(node)

    def _split_scope(self, nodeid: str) -> str:
        """Return the trajectory that a test's id begins with, else its file; tests that are long each go alone."""
        file, _, parameters = nodeid.partition("[")
        if parameters.startswith(ALONE):
            return nodeid
        trajectory = trajectory_in(nodeid, self._seconds)
        if not trajectory or not self._one_by_one:
            return trajectory or file.partition("::")[0]
        return f"{trajectory} after {count}" if (count := _count(nodeid, trajectory)) else nodeid  # a rule goes alone


def _count(test: str, trajectory: str) -> int:
    """Return the N of a trajectory's test: 0 of a rule; of a curve or a budget, which need all, the most."""
    parameters = test.partition("[")[2]
    if parameters == f"{trajectory}]":
        return MANY
    found = re.search(r"-n(\d+)\]$", parameters)
    return int(found[1]) if found else 0
