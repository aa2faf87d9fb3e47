"""On a Ray of several nodes the gate says what it says without one, also while nodes die."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from editgate.ray_run import worker
from meta.faults.runs import Child, begin, entries, litter
from meta.ray_run.a_cluster import Cluster, cluster
from meta.ray_run.runs import GATE, begin_on, report, until_written, with_all_sentences, without_a_shared_disk

pytest.importorskip("ray", reason="ray is not installed: editgate[ray]")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Child, int]:
    """The run without Ray, and its exit code."""
    child = begin(tmp_path_factory.mktemp("whole"), GATE, prepare=with_all_sentences)
    return child, child.wait()


@pytest.fixture
def three() -> Iterator[Cluster]:
    """A cluster with three nodes of one core."""
    with cluster(1, 1, 1) as running:
        yield running


def test_the_report_is_that_of_one_process_though_a_node_dies(
    tmp_path: Path, three: Cluster, whole: tuple[Child, int]
) -> None:
    """Workers have folders of their own. One node is killed in the middle, and the judge computes nothing."""
    child = begin_on(three.address, tmp_path / "ray", prepare=without_a_shared_disk)
    until_written(child, 6)
    three.kill(0)
    code = child.wait()
    assert code == whole[1], child.output()
    assert report(child.folder) == report(whole[0].folder)
    mine = entries(child.folder / "store")
    assert entries(whole[0].folder / "store").items() <= mine.items()
    assert "written.log" not in [path.name for path in (child.folder / "store").iterdir()], "the judge computed"
    assert [*litter(child.folder / "store")] == []


def test_two_runs_beside_each_other_are_each_as_alone(tmp_path: Path, three: Cluster, whole: tuple[Child, int]) -> None:
    """They share a store and a cluster, and neither disturbs the other."""
    shared = tmp_path / "store"
    shared.mkdir()
    both = [begin_on(three.address, tmp_path / name, store=shared) for name in ("one", "two")]
    for child in both:
        assert child.wait() == whole[1], child.output()
        assert report(child.folder) == report(whole[0].folder)
    assert [*litter(shared)] == []


def test_other_versions_are_refused_by_name(tmp_path: Path, three: Cluster) -> None:
    """The line has the package, both versions and the node, and no task was worked."""

    def older() -> None:
        from editgate.ray_run import pool  # noqa: PLC0415 - in the run alone

        mine = worker.surroundings()
        vars(pool)["surroundings"] = lambda: mine | {"transformers": "4.0.0"}

    child = begin_on(three.address, tmp_path / "ray", prepare=older)
    assert child.wait() == pytest.ExitCode.USAGE_ERROR, child.output()
    (line,) = [line for line in child.output().splitlines() if line.startswith("ERROR: ")]
    assert re.search(r"node \S+ \(\w{8}\) has transformers \S+ \(here 4\.0\.0\)\. Allowed: the same", line)
    assert not (child.folder / "store" / "items").exists()


def test_messages_grow_as_the_work() -> None:
    """With eight workers each task is worked once, by one message, and a plan sixteen times as large takes as many."""
    with cluster(4, 4) as running:
        command = [sys.executable, "-m", "meta.ray_run.tiny_workers", running.address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)  # noqa: S603 - this Python
    assert done.returncode == 0, done.stderr
    for row in json.loads(done.stdout.splitlines()[-1]):
        assert row["done"] == row["tasks"]
        assert row["most"] == 1
        assert row["tasks"] <= row["messages"] <= row["tasks"] + 2 * 8  # two for each worker that begins
        assert row["looks"] <= 4 * row["tasks"]
