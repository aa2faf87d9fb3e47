"""Which worker gets which test: a trajectory stays on one where all have some, what is long goes alone."""

from __future__ import annotations

from types import SimpleNamespace

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
    gateway = SimpleNamespace(id="gw0")

    def __init__(self, tests: list[str]) -> None:
        self.tests = tests
        self.given: list[str] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        """Be given tests."""
        self.given += [self.tests[i] for i in indices]

    def shutdown(self) -> None:
        """Be told that there are no more."""


@pytest.mark.parametrize("test", sorted(SCOPES))
def test_each_test_has_its_share(test: str, pytester: pytest.Pytester) -> None:
    """Tests that share a scope go to one worker: by trajectory wherever it is named, else alone, else by file."""
    scheduler = ByTrajectory(pytester.parseconfig("--tx=popen"), None, dict.fromkeys(RUNS, 1.0), room=True)
    assert scheduler._split_scope(test) == SCOPES[test]


def test_the_longest_trajectory_begins_first(pytester: pytest.Pytester) -> None:
    """Workers get trajectories in the order of what they are expected to take, then the rest in xdist's order."""
    seconds = {"rome-llama-mini": 20.0, "wise-llama-mini": 90.0, "memit-llama-mini": 30.0}
    scheduler = ByTrajectory(pytester.parseconfig("--tx=popen"), None, seconds, room=True)
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


def test_a_trajectory_is_shared_out_where_a_worker_would_have_none(pytester: pytest.Pytester) -> None:
    """Two workers and one method: they take turns at its rules, then at its Ns, the smaller first, its curve last."""
    scheduler = ByTrajectory(pytester.parseconfig("--tx=2*popen"), None, dict.fromkeys(RUNS, 1.0), room=True)
    checks = [
        *("integrity[{}-finite]", "integrity[{}-accumulate]", "mmlu[{}-n1]", "mmlu[{}-n5]", "toxigen[{}-n5]"),
        *("mmlu[{}-n10]", "mmlu[{}-n100]", "curve[{}]"),
    ]
    tests = [f"gate.py::{check.format('memit-llama-mini')}" for check in reversed(checks)]
    pair = first, second = Worker(tests), Worker(tests)
    for worker in pair:
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, tests)
    scheduler.schedule()
    for worker in (first, second, first):
        scheduler._assign_work_unit(worker)
    given = [[test.replace("memit-llama-mini", "{}")[len("gate.py::") :] for test in worker.given] for worker in pair]
    assert given == [
        ["integrity[{}-accumulate]", "mmlu[{}-n1]", "mmlu[{}-n10]", "curve[{}]"],
        ["integrity[{}-finite]", "toxigen[{}-n5]", "mmlu[{}-n5]", "mmlu[{}-n100]"],
    ]
    assert not scheduler.workqueue


def test_a_model_that_needs_room_stays_on_one_worker(pytester: pytest.Pytester) -> None:
    """Where a model in every worker may not fit, one trajectory is one worker's, however many there are."""
    scheduler = ByTrajectory(pytester.parseconfig("--tx=2*popen"), None, dict.fromkeys(RUNS, 1.0), room=False)
    tests = [f"gate.py::mmlu[memit-llama-mini-n{count}]" for count in (1, 5, 10)]
    for worker in (first := Worker(tests), second := Worker(tests)):
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, tests)
    scheduler.schedule()
    assert sorted(map(len, (first.given, second.given))) == [0, 3]
