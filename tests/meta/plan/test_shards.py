"""How the list is divided: by all shards alike, every task once, trajectories whole, and evenly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editgate.errors import ConfigError
from editgate.plan import shards
from editgate.plan.shards import Shard
from editgate.plan.tasks import Task, chains

NAMES = ("memit", "rome", "wise", "")
TASKS = st.lists(
    st.builds(
        lambda name, what, edits: Task("score", "m", name, name and f"{name}-m", what, edits=edits),
        st.sampled_from(NAMES),
        st.sampled_from(("mmlu", "bbh", "gsm8k")),
        st.integers(0, 3),
    ),
    unique_by=lambda task: task.id,
)


def _cost(task: Task) -> float:
    return 1.0 + task.edits * len(task.editor)


@given(TASKS, st.integers(1, 7))
def test_every_task_is_in_one_shard_and_every_chain_whole(tasks: list[Task], of: int) -> None:
    """The shards' parts together are the list, and no trajectory is in two."""
    parts = [shards.part(tasks, Shard(number, of), _cost) for number in range(1, of + 1)]
    assert sorted(task.id for part in parts for task in part) == sorted(task.id for task in tasks)
    for chain in chains(tasks):
        assert sum(task in part for part in parts for task in chain[:1]) == 1
        assert any(all(task in part for task in chain) for part in parts)


@given(TASKS, st.integers(1, 7))
def test_no_shard_has_more_than_an_even_part_and_one_chain(tasks: list[Task], of: int) -> None:
    """The most costly shard is above the mean by less than the most costly chain."""
    loads = [sum(map(_cost, shards.part(tasks, Shard(number, of), _cost))) for number in range(1, of + 1)]
    largest = max((sum(map(_cost, chain)) for chain in chains(tasks)), default=0.0)
    assert max(loads) <= sum(loads) / of + largest


@given(TASKS, st.randoms())
def test_the_order_of_collection_decides_nothing(tasks: list[Task], random: object) -> None:
    """Shards that collected in another order agree all the same who works what."""
    other = list(tasks)
    random.shuffle(other)  # type: ignore[attr-defined]  # hypothesis' Random has no type of its own
    one, two = ({task.id for task in shards.part(each, Shard(1, 3), lambda _: 1.0)} for each in (tasks, other))
    assert one == two or len(chains(tasks)) == 0


@pytest.mark.parametrize(("text", "allowed"), [("17/16", "1/16 to 16/16"), ("0/4", "1/4 to 4/4"), ("4", "NUMBER/OF")])
def test_a_part_that_there_is_not_is_refused(text: str, allowed: str) -> None:
    """The message has the value and what is allowed."""
    with pytest.raises(ConfigError, match=allowed) as caught:
        shards.read(text)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_last_part_is_one() -> None:
    """Shards are counted from 1 on."""
    assert shards.read("16/16") == Shard(16, 16)
    assert shards.read(None) is None
