"""A node killed at twenty random moments: each run says what the run without Ray says, and has the same entries."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meta.faults.runs import Child, begin, entries, litter
from meta.ray_run.a_cluster import Cluster, cluster
from meta.ray_run.runs import ONE_METHOD, begin_on, report, until_written, with_all_sentences, without_a_shared_disk

pytest.importorskip("ray", reason="ray is not installed: editgate[ray]")

SEEDS = range(20)


@pytest.fixture(scope="module")
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Child, int]:
    """The run without Ray, and its exit code; skips all but `--profile=nightly`."""
    if request.config.option.profile != "nightly":
        pytest.skip("twenty runs are asked under --profile=nightly")
    child = begin(tmp_path_factory.mktemp("whole"), ONE_METHOD, prepare=with_all_sentences)
    return child, child.wait()


@pytest.fixture(scope="module")
def two(whole: tuple[Child, int]) -> Iterator[Cluster]:
    """A cluster with two nodes of one core."""
    assert whole
    with cluster(1, 1) as running:
        yield running


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_killed_at_any_moment_changes_nothing(
    seed: int, tmp_path: Path, whole: tuple[Child, int], two: Cluster
) -> None:
    """Workers have folders of their own, so that all that a dead one knew is what it had sent."""
    moment = random.Random(seed)
    expected = entries(whole[0].folder / "store")
    outcomes = sum(name.endswith(".json") for name in expected)
    child = begin_on(two.address, tmp_path / "ray", ONE_METHOD, prepare=without_a_shared_disk)
    until_written(child, moment.randrange(outcomes))
    time.sleep(moment.random())
    node = moment.randrange(2)
    two.kill(node)
    two.replace(node)
    assert child.wait() == whole[1], child.output()
    assert report(child.folder) == report(whole[0].folder)
    assert expected.items() <= entries(child.folder / "store").items()
    assert [*litter(child.folder / "store")] == []
    print(f"seed {seed}: node {node} killed, {child.seconds():.0f} s, {child.output().count('died')} tasks lost")
