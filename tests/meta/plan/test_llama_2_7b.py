"""The arithmetic for Llama-2-7B: what the page says is what the planner reckons from published and counted numbers."""

from __future__ import annotations

import tomllib
from itertools import pairwise

import pytest

from editgate.plan import llama_2_7b
from editgate.plan.llama_2_7b import FILE, GPUS, Pace, Reckoning
from meta.docs.pages import TEXTS

TABLE = tomllib.loads(FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def found() -> Reckoning:
    """The reckoning."""
    return llama_2_7b.reckon()


def test_the_page_has_these_numbers(found: Reckoning) -> None:
    """Each printed line stands in docs/clusters.md."""
    page = TEXTS["docs/clusters.md"].splitlines()
    assert [line for line in llama_2_7b.lines(found) if line not in page] == []


@pytest.mark.parametrize("size", ["1", "8"])
def test_the_pace_gives_back_what_was_published(size: str) -> None:
    """Two costs are solved from two numbers, and give both again."""
    published = TABLE["published"]
    pace, prompts = Pace.of(published), int(size)
    seconds = prompts * published["read"] * pace.token + published["written"] * pace.step
    assert seconds == pytest.approx(published["milliseconds"][size] / 1000)


def test_more_gpus_are_never_slower_and_never_faster_than_the_longest_chain(found: Reckoning) -> None:
    """One GPU takes the sum, 64 at least the longest chain, and single tasks never longer than whole trajectories."""
    assert found.single[1] == pytest.approx(sum(found.hours.values()))
    assert found.shards[1] == pytest.approx(sum(found.hours.values()))
    for few, many in pairwise(GPUS):
        assert found.single[few] >= found.single[many] >= found.longest.longest_seconds / 3600 - 1e-9
        assert found.shards[few] >= found.shards[many] >= found.single[many] - 1e-9


def test_an_edit_is_never_faster_than_its_passes_read_the_weights() -> None:
    """A pass of a few tokens takes a step, one of many tokens what they take."""
    pace = Pace(token=0.001, step=0.01)
    assert pace.edit(2, 1, 4) == pytest.approx(0.03)
    assert pace.edit(2, 1, 200) == pytest.approx(0.3)
    assert pace.edit(0, 0, 0) == 0.0
