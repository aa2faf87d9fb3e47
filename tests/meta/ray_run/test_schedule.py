"""The schedule, with workers that are made up: every task once, whatever dies, in steps that grow as the work."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from editgate.plan.tasks import Task, left_out
from editgate.ray_run.schedule import TRIES, Schedule, State, Worker

WORKERS = [Worker(f"w{number}", f"node{number % 3}") for number in range(5)]


def plan(trajectories: int, counts: int = 3, benchmarks: int = 2) -> list[Task]:
    """A plan in the form of `from_cases.plan`: baselines, and of each trajectory a rule, edits and scores."""
    names = [f"b{number}" for number in range(benchmarks)]
    baselines = [Task("score", "m", what=name) for name in names]
    tasks = [*baselines]
    for number in range(trajectories):
        about = {"model": "m", "editor": f"e{number}", "trajectory": f"e{number}-m"}
        prepare = Task("prepare", **about)  # type: ignore[arg-type]  # all texts
        rule = Task("check", **about, what="rule", needs=(prepare.id, baselines[0].id))  # type: ignore[arg-type]
        tasks += [prepare, rule]
        before: tuple[str, ...] = (prepare.id, rule.id)
        for count in range(1, counts + 1):
            edit = Task("edit", **about, first=count - 1, edits=count, needs=before)  # type: ignore[arg-type]
            before = (edit.id,)
            tasks.append(edit)
            for baseline in baselines:
                needs = (edit.id, baseline.id)
                tasks.append(Task("score", **about, what=baseline.what, edits=count, needs=needs))  # type: ignore[arg-type]
    return tasks


def one_second(_: Task) -> float:
    return 1.0


def schedule(tasks: list[Task], workers: list[Worker] = WORKERS) -> Schedule:
    made = Schedule(tasks, one_second)
    for worker in workers:
        made.joined(worker)
    return made


def work_off(planned: Schedule, worker: Worker) -> list[str]:
    """Let one worker do everything; return what it did."""
    did = []
    while (task := planned.next(worker)) is not None:
        did.append(task.id)
        planned.done(worker)
    return did


def test_one_worker_follows_the_plan_within_a_trajectory() -> None:
    """A trajectory's tasks come in the order of the plan, and no other's in between."""
    tasks = plan(3)
    did = work_off(schedule(tasks, WORKERS[:1]), WORKERS[0])
    assert sorted(did) == sorted(task.id for task in tasks)
    chains = [task.chain for name in did for task in tasks if task.id == name and task.chain]
    assert sum(one != other for one, other in pairwise(chains)) == 2
    for number in range(3):
        mine = [task.id for task in tasks if task.chain == f"e{number}-m"]
        assert [name for name in did if name in mine] == mine


def test_an_idle_worker_takes_scores_of_a_trajectory_that_another_edits() -> None:
    """With one trajectory and two workers both are busy as soon as there is a checkpoint."""
    planned = schedule(plan(1), WORKERS[:2])
    one, two = WORKERS[:2]
    for _ in range(5):
        task = planned.next(one)
        assert task is not None
        if task.kind == "edit":
            planned.done(one)
            break
        planned.done(one)
    first, second = planned.next(one), planned.next(two)
    assert first is not None
    assert second is not None
    assert {first.kind, second.kind} == {"edit", "score"} or {first.what, second.what} == {"b0", "b1"}


def test_a_worker_stays_with_its_trajectory() -> None:
    """Two workers on two trajectories never change places while their own has work."""
    planned = schedule(plan(2, counts=5), WORKERS[:2])
    seen: dict[str, set[str]] = {"w0": set(), "w1": set()}
    for _ in range(12):
        for worker in WORKERS[:2]:
            task = planned.next(worker)
            if task is not None:
                seen[str(worker.name)] |= {task.chain} - {""}
        for worker in WORKERS[:2]:
            planned.done(worker)
    assert [len(chains) for chains in seen.values()] == [1, 1]


def test_what_broke_goes_to_another_node() -> None:
    """The node where it failed gets other work; without another node it is tried there again."""
    tasks = plan(0, benchmarks=1)
    planned = schedule(tasks, WORKERS[:2])
    task = planned.next(WORKERS[0])
    assert task is not None
    planned.broke(WORKERS[0], "full")
    assert planned.next(WORKERS[0]) is None
    assert planned.next(WORKERS[1]) == task
    alone = schedule(tasks, WORKERS[:1])
    alone.next(WORKERS[0])
    alone.broke(WORKERS[0], "full")
    assert alone.next(WORKERS[0]) == task


def test_a_task_that_fails_three_times_is_poisoned_with_what_comes_after_it() -> None:
    """Nobody else's tasks are: all others are done."""
    tasks = plan(2)
    planned = schedule(tasks, WORKERS[:1])
    bad = "edit e0-m 2-2"
    tried = Counter[str]()
    while (task := planned.next(WORKERS[0])) is not None:
        tried[task.id] += 1
        if task.id == bad:
            planned.lost(WORKERS[0], "killed")
            planned.joined(WORKERS[0])
        else:
            planned.done(WORKERS[0])
    assert tried.pop(bad) == TRIES
    assert set(tried.values()) == {1}
    assert planned.ids(State.POISONED) == [bad]
    assert planned.reasons[bad] == "killed"
    assert set(planned.ids(State.LEFT_OUT)) == left_out(tasks, [bad])
    assert not planned.left


FATE = st.sampled_from("done done done refused broke lost".split())
FATES = st.lists(st.tuples(st.integers(0, len(WORKERS) - 1), FATE))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 3), FATES)
def test_every_order_of_ends_and_deaths_works_each_task_once(trajectories: int, fates: list[tuple[int, str]]) -> None:
    """Every task is done once, or has its reason; nothing runs before what it needs, nor after what failed."""
    tasks = plan(trajectories)
    planned = schedule(tasks)
    by_id = {task.id: task for task in tasks}
    at: dict[Worker, Task] = {}
    did, failed = Counter[str](), Counter[str]()
    without_number: set[str] = set()
    steps = [*fates, *[(number % len(WORKERS), "done") for number in range(2 * len(WORKERS) * len(tasks) + 40)]]
    for number, fate in steps:
        for worker in WORKERS:
            if worker not in at and (task := planned.next(worker)) is not None:
                assert all(did[needed] for needed in task.needs if needed in by_id)
                assert task.id not in {other.id for other in at.values()}
                at[worker] = task
        worker = WORKERS[number]
        if worker not in at:
            continue
        task = at.pop(worker)
        if fate == "done":
            planned.done(worker)
            did[task.id] += 1
        elif fate == "refused":
            planned.refused(worker, "no number")
            without_number.add(task.id)
        else:
            failed[task.id] += 1
            if fate == "broke":
                planned.broke(worker, "broke")
            else:
                planned.lost(worker, "lost")
                planned.joined(worker)
    poisoned = {name for name, times in failed.items() if times == TRIES}
    assert max(failed.values(), default=0) <= TRIES
    assert not planned.left
    assert set(planned.ids(State.POISONED)) == poisoned
    assert set(planned.ids(State.REFUSED)) == without_number
    lost = left_out(tasks, [*poisoned, *without_number])
    assert set(planned.ids(State.LEFT_OUT)) == lost
    assert {name: 1 for name in by_id if name not in poisoned | without_number | lost} == dict(did)
    assert sum(planned.counts.values()) == len(tasks)


@pytest.mark.parametrize(("size", "workers"), [(10, 1), (10, 8), (160, 1), (160, 8)])
def test_the_cost_grows_as_the_work(size: int, workers: int) -> None:
    """Each task is looked at four times at most, however many there are: also where tasks fail, and the queues mix."""
    tasks = plan(size)
    staff = [Worker(f"w{number}", f"node{number}") for number in range(workers)]
    planned, steps = schedule(tasks, staff), 0
    while planned.left:
        for worker in staff:
            if planned.next(worker) is None:
                continue
            steps += 1
            if steps % 14 == 0:
                planned.refused(worker, "no number")
            elif steps % 7 == 0:
                planned.broke(worker, "once")
            else:
                planned.done(worker)
    assert planned.looks <= 4 * len(tasks)
