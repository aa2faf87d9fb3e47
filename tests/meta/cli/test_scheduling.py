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


@pytest.mark.parametrize("test", sorted(SCOPES))
def test_each_test_has_its_share(test: str) -> None:
    """Tests that share a scope go to one worker: by trajectory wherever it is named, else alone, else by file."""
    scheduler = ByTrajectory.__new__(ByTrajectory)
    scheduler._trajectories = sorted(RUNS, key=len, reverse=True)
    assert scheduler._split_scope(test) == SCOPES[test]
