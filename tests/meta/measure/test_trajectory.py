"""One accumulated run serves every N; killed and started again it gives the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from editgate.cache.digest import digest_tensors
from editgate.cache.store import Store
from editgate.inputs import edit_lists, models
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.unedited_model import LoadedModel
from editgate.measure.trajectory import Trajectory
from editors import Edit

COUNTS = (1, 3, 5)


@pytest.fixture(scope="module")
def base() -> LoadedModel:
    """The miniature, unedited."""
    return models.load(models.find("llama-mini"), device="cpu", dtype="float32")


def start(base: LoadedModel, store: Path, counts: tuple[int, ...] = COUNTS, method: str = "memit") -> Trajectory:
    """Return a trajectory on the shipped edits."""
    edits = edit_lists.read(edit_lists.SHIPPED["counterfact"])
    return Trajectory(EditorSpec(method, method), base, edits, counts, Store(store))


def bits(run: Trajectory, count: int) -> str:
    """Return the digest of all parameters after `count` edits."""
    return digest_tensors(dict(run.editor_at(count).model.named_parameters()))


@pytest.fixture(scope="module")
def whole(base: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Trajectory:
    """A trajectory that ran to its end without interruption."""
    run = start(base, tmp_path_factory.mktemp("whole"))
    run.editor_at(5)
    return run


def test_a_prefix_is_a_shorter_trajectory(base: LoadedModel, whole: Trajectory, tmp_path: Path) -> None:
    """The checkpoint after 3 of 5 edits is the end of a trajectory of 3."""
    assert bits(whole, 3) == bits(start(base, tmp_path, (3,)), 3)


def test_a_larger_n_continues(base: LoadedModel, whole: Trajectory, tmp_path: Path) -> None:
    """Asking for 5 edits after a run of 3 applies two more and ends in the same bits."""
    bits(start(base, tmp_path, (3,)), 3)
    longer = start(base, tmp_path, (3, 5))
    applied: list[str] = []
    counting = _counting(longer.editor.apply, applied)
    longer.editor.apply = counting  # type: ignore[method-assign,assignment]
    assert bits(longer, 5) == bits(whole, 5)
    assert len(applied) == 2


def _counting(apply: Callable[[Edit], None], applied: list[str]) -> Callable[[Edit], None]:
    def counted(edit: Edit) -> None:
        applied.append(edit.text)
        apply(edit)

    return counted


def test_a_run_that_died_between_edits_resumes(base: LoadedModel, whole: Trajectory, tmp_path: Path) -> None:
    """An exception in the fourth edit loses at most the edits since the last checkpoint; numbers are the same."""
    dying = start(base, tmp_path)
    calls: list[str] = []
    inner = dying.editor.apply

    def fail(edit: Edit) -> None:
        calls.append(edit.text)
        if len(calls) == 4:
            raise RuntimeError("killed")
        inner(edit)

    dying.editor.apply = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="killed"):
        dying.editor_at(5)
    again = start(base, tmp_path)
    assert bits(again, 5) == bits(whole, 5)
    assert again.immediate(5) == whole.immediate(5)
    assert again.final(5) == whole.final(5)


def test_a_killed_process_resumes(base: LoadedModel, whole: Trajectory, tmp_path: Path) -> None:
    """SIGKILL after the first checkpoint, then a new process: the same bits as an uninterrupted run."""
    script = textwrap.dedent(f"""
        from pathlib import Path
        from meta.measure.test_trajectory import start
        from editgate.inputs import models
        import torch
        torch.set_num_threads(1)
        base = models.load(models.find("llama-mini"), device="cpu", dtype="float32")
        start(base, Path({str(tmp_path)!r})).editor_at(5)
    """)
    root = Path(__file__).parents[3]
    paths = os.pathsep.join([str(root / "tests"), str(root)])
    process = subprocess.Popen([sys.executable, "-c", script], cwd=root, env={**os.environ, "PYTHONPATH": paths})  # noqa: S603
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("progress/*.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(tmp_path.glob("progress/*.json")), "the process ended before its first checkpoint"
    assert bits(start(base, tmp_path), 5) == bits(whole, 5)


def test_checkpoints_of_a_training_go_when_its_result_is_stored(base: LoadedModel, tmp_path: Path) -> None:
    """What a training saved on its way does not stay in the store for ever; what it made does."""
    run = start(base, tmp_path)
    run.setup._scratch.mkdir(parents=True)
    (run.setup._scratch / "network.safetensors").write_bytes(b"half a training")
    run.editor_at(0)
    assert not run.setup._scratch.exists()
    assert list(tmp_path.glob("prepared/**/*.json"))


def test_the_base_stays_as_it_was(whole: Trajectory) -> None:
    """A whole trajectory leaves the unedited model alone."""
    assert digest_tensors(dict(whole.base.model.named_parameters())) == whole.base.identity["model"]


def test_nobody_is_taught_whom_a_trajectory_edits_by_name_or_in_a_question(base: LoadedModel, tmp_path: Path) -> None:
    """Training edits about an edited subject are left out, also where the edit only asks about it, or they do."""
    taught = base.source.training()
    first, second, third = taught[0], taught[1], next(edit for edit in taught[2:] if edit.rephrases)
    asks = replace(second, prompt=second.text, subject=None, rephrases=())
    rephrased = Edit("Nobody is named here, and", target_new="x", rephrases=third.rephrases[:1])
    nameless = replace(first, prompt=first.text, subject=None)
    source = replace(base.source, training=lambda: [nameless, *taught])
    run = replace(start(replace(base, source=source), tmp_path, (3,)), edits=[first, asks, rephrased])
    left = run.setup.training
    gone = {each.subject for each in (first, second, third)}
    assert nameless not in left
    assert {edit.subject for edit in taught} - {edit.subject for edit in left} == gone


def test_the_key_depends_on_edits_and_method(base: LoadedModel, tmp_path: Path) -> None:
    """Another edit, another order, another method or another seed is another checkpoint."""
    run = start(base, tmp_path)
    other = [
        replace(run, edits=run.edits[1:]),
        replace(run, edits=[run.edits[1], run.edits[0], *run.edits[2:]]),
        replace(run, spec=EditorSpec("rome", "rome")),
        replace(run, spec=EditorSpec("memit", "memit", {"v_lr": 0.25})),
        replace(run, seed=1),
    ]
    assert len({run.key(3), *(each.key(3) for each in other)}) == len(other) + 1
