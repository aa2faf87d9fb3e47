"""A trajectory in batches: N counts edits, the first N are cut from the start on, a smaller last batch is a branch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from editgate.cache.digest import digest_tensors
from editgate.cache.store import Store
from editgate.inputs.editor_specs import EditorSpec
from editgate.measure.trajectory import Trajectory
from editgate.verdict.cell import efficacy_by_age
from editors import Edit
from meta.support import tiny_models as tiny
from meta.support.tiny_runs import loaded

MOST = 9
EDITS = [replace(tiny.EDITS[n % 4], subject=f"Velidor {n}") for n in range(MOST)]
few = settings(max_examples=15, deadline=None)
sizes, ends = st.integers(1, MOST + 1), st.lists(st.integers(1, MOST), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Trajectory:
    """A trajectory of a method by which one sees the batches."""
    folder = tmp_path_factory.mktemp("tiny")
    spec = EditorSpec("adds_batches", "meta.support.adds_batches:adds_batches")
    return Trajectory(spec, loaded(folder), EDITS, (MOST,), Store(folder / "store"))


def again(run: Trajectory, size: int, counts: Sequence[int], store: str | Path) -> Trajectory:
    """The same in batches of a size, from a store of its own."""
    spec = replace(run.spec, batch_size=size)
    return replace(run, spec=spec, counts=tuple(sorted({*counts})), store=Store(Path(store)))


def bits(run: Trajectory, count: int) -> str:
    """Return the digest of all parameters after `count` edits."""
    return digest_tensors(dict(run.model_at(count).named_parameters()))


def cut(edits: Sequence[Edit], size: int) -> list[Sequence[Edit]]:
    """Return the edits in batches of a size, from the first on."""
    return [edits[start : start + size] for start in range(0, len(edits), size)]


@few
@given(size=sizes, counts=ends, order=st.randoms(use_true_random=False))
def test_checkpoint_n_is_the_first_n_edits_cut_from_the_start(
    run: Trajectory, size: int, counts: list[int], order: object
) -> None:
    """Whatever Ns were asked for before, and in whichever order, N is what those batches alone lead to."""
    order.shuffle(counts)  # type: ignore[attr-defined]  # hypothesis types it as random.Random's parent
    with TemporaryDirectory() as folder:
        asked = again(run, size, counts, folder)
        for count in counts:
            alone = run.fresh_editor()
            for batch in cut(EDITS[:count], size):
                alone.apply_many(batch)
            assert bits(asked, count) == digest_tensors(dict(alone.model.named_parameters()))
            assert [row.target_new for row in asked.immediate(count)] == [edit.target_new for edit in EDITS[:count]]


@few
@given(size=sizes, batches=st.integers(1, 4), more=st.integers(0, MOST))
def test_a_prefix_of_whole_batches_is_a_shorter_trajectory(run: Trajectory, size: int, batches: int, more: int) -> None:
    """Where whole batches end, the longer trajectory's checkpoint is the shorter one's: the same entry of the store."""
    short = min(size * batches, MOST - MOST % size or MOST)
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        longer, shorter = again(run, size, (min(short + more, MOST),), one), again(run, size, (short,), other)
        longer.model_at(longer.counts[-1])
        assert longer.key(short) == shorter.key(short)
        assert bits(longer, short) == bits(shorter, short)


@few
@given(size=st.integers(2, 4), count=st.integers(1, MOST), dies_at=st.integers(0, 4))
def test_a_run_that_died_resumes_to_the_same_bits(run: Trajectory, size: int, count: int, dies_at: int) -> None:
    """An exception in any batch loses no more than what follows the last checkpoint, and changes no number."""
    counts = tuple(sorted({1, size, count}))
    with TemporaryDirectory() as folder, TemporaryDirectory() as other:
        dying = again(run, size, counts, folder)
        inner, calls = dying.editor._edit, []

        def fails(edits: Sequence[Edit]) -> None:
            calls.append(edits)
            if len(calls) > dies_at:
                raise RuntimeError("killed")
            inner(edits)

        dying.editor._edit = fails  # type: ignore[method-assign]
        for each in counts:
            with suppress(RuntimeError):
                dying.model_at(each)
        resumed, whole = again(run, size, counts, folder), again(run, size, counts, other)
        assert bits(resumed, count) == bits(whole, count)
        assert resumed.immediate(count) == whole.immediate(count)
        assert resumed.diagnostics(count) == whole.diagnostics(count)


def test_after_a_branch_a_run_goes_on_from_its_last_whole_batch(run: Trajectory, tmp_path: Path) -> None:
    """To N = 9 after N = 7 in batches of three, a new process applies the third batch alone."""
    bits(again(run, 3, (7,), tmp_path), 7)
    longer = again(run, 3, (7, 9), tmp_path)
    inner, applied = longer.editor._edit, []

    def counted(edits: Sequence[Edit]) -> None:
        applied.append(edits)
        inner(edits)

    longer.editor._edit = counted  # type: ignore[method-assign]
    bits(longer, 9)
    assert applied == [EDITS[6:9]]


def test_a_key_says_how_edits_are_cut_and_nothing_else(run: Trajectory, tmp_path: Path) -> None:
    """One edit has one key in batches of any size, and 5 edits at once theirs; single edits keep the key they had."""
    single, fives, tens = (again(run, size, (MOST,), tmp_path) for size in (1, 5, 10))
    assert single.key(1) == fives.key(1) == tens.key(1)
    assert fives.key(5) == tens.key(5) != single.key(5)
    assert len({single.key(7), fives.key(7), tens.key(7)}) == 3


def test_names_sentences_and_checkpoints_say_the_batch(run: Trajectory, tmp_path: Path) -> None:
    """A trajectory in batches has its own name, and says of N that the edits came in batches."""
    batched = again(run, 4, (6,), tmp_path)
    assert batched.name == "adds_batches-b4-tiny"
    assert batched.described(6) == "after 6 edits (batches of 4) of tiny with adds_batches"
    assert again(run, 1, (6,), tmp_path).described(6) == "after 6 edits of tiny with adds_batches"


def test_the_age_of_an_edit_is_what_later_batches_brought(run: Trajectory, tmp_path: Path) -> None:
    """Of 7 edits in batches of 3 the first three have had 4 after them, the next three 1, the last none."""
    rows = again(run, 3, (7,), tmp_path).final(7)
    assert [(age.first, age.edits) for age in efficacy_by_age(rows, 3)] == [(0, 1), (1, 3), (2, 3)]
