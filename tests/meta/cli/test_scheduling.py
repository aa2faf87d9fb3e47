"""Which worker gets which test: a trajectory stays on one, what is long goes alone, the rest goes file by file."""

from __future__ import annotations

import pytest

from editgate.pytest_run.scheduling import ByTrajectory

RUNS = ("rome-llama-mini", "rrome-llama-mini", "memit-llama-mini")
SCOPES = {
    "tests/editgate/gate/test_safety.py::test_toxigen[rome-llama-mini-n10]": "rome-llama-mini",
    "tests/editgate/gate/test_curves.py::test_curve[rrome-llama-mini]": "rrome-llama-mini",
    "tests/meta/test_one.py::test_take[method-3]": "tests/meta/test_one.py::test_take[method-3]",
    "tests/meta/cache/test_store.py::test_a_damaged_entry[json]": "tests/meta/cache/test_store.py",
    "tests/meta/cache/test_store.py::test_two_processes": "tests/meta/cache/test_store.py",
}


class Worker:
    """Keeps which tests it is given, in their order."""

    shutting_down = False

    def __init__(self, tests: list[str]) -> None:
        self.tests = tests
        self.given: list[str] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        """Be given tests."""
        self.given += [self.tests[i] for i in indices]

    def shutdown(self) -> None:
        """Be told that there are no more."""


@pytest.mark.parametrize("test", sorted(SCOPES))
def test_each_test_has_its_share(test: str) -> None:
    """Tests that share a scope go to one worker: by trajectory wherever it is named, else alone, else by file."""
    scheduler = ByTrajectory.__new__(ByTrajectory)
    scheduler._trajectories = sorted(RUNS, key=len, reverse=True)
    assert scheduler._split_scope(test) == SCOPES[test]


def test_the_longest_trajectory_begins_first(pytester: pytest.Pytester) -> None:
    """Workers get trajectories in the order of what they are expected to take, then the rest in xdist's order."""
    seconds = {"rome-llama-mini": 20.0, "wise-llama-mini": 90.0, "memit-llama-mini": 30.0}
    scheduler = ByTrajectory(pytester.parseconfig("--tx=popen"), None, seconds)
    tests = [
        *(f"tests/gate.py::test_mmlu[{name}-n1]" for name in seconds),
        "tests/meta/a.py::test_one",
        *(f"tests/meta/b.py::test_{number}" for number in range(5)),
    ]
    worker = Worker(tests)
    scheduler.add_node(worker)
    scheduler.add_node_collection(worker, tests)
    scheduler.schedule()
    while scheduler.workqueue:
        scheduler._assign_work_unit(worker)
    begun = [name.partition("[")[2] or name.partition("::")[0] for name in worker.given]
    assert begun == [
        "wise-llama-mini-n1]",
        "memit-llama-mini-n1]",
        "rome-llama-mini-n1]",
        *["tests/meta/b.py"] * 5,
        "tests/meta/a.py",
    ]
