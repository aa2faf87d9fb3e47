"""With `--device=cuda -n 8` worker i takes device i, and what cannot be so is refused in a line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from editgate.cache.digest import digest_tensors
from editgate.cache.environment import conditions
from editgate.cache.store import Store
from editgate.errors import ConfigError
from editgate.inputs import edit_lists, models
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.unedited_model import LoadedModel
from editgate.measure.integrity import trajectory_rules
from editgate.measure.session import EvaluationSession
from editgate.measure.trajectory import Trajectory
from editgate.options import devices
from editors import UnsupportedModel
from editors.core import placement
from meta.support.settings_factory import miniature, settings

ROOT = Path(__file__).parents[3]


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with four devices of each kind."""
    monkeypatch.setattr(torch, "get_device_module", lambda _: SimpleNamespace(device_count=lambda: 4))


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(
    ("device", "worker", "taken"),
    [
        ("cuda", "gw0", "cuda:0"),
        ("cuda", "gw3", "cuda:3"),
        ("xpu", "gw1", "xpu:1"),
        ("cuda", "gw4", "cuda:0"),  # in place of one that crashed
        ("cuda", "", "cuda"),  # no workers
        ("cuda", "master", "cuda"),
        ("cuda:2", "gw1", "cuda:2"),
        ("cpu", "gw1", "cpu"),
        ("auto", "gw1", "auto"),
    ],
)
def test_each_worker_takes_its_device(device: str, worker: str, taken: str) -> None:
    """Worker i takes device i of a kind; a numbered one, the CPU and `auto` are the same for all."""
    environment = {"PYTEST_XDIST_WORKER": worker} if worker else {}
    assert devices.of_this_process(device, environment) == taken


@pytest.mark.usefixtures("four")
def test_a_session_loads_on_the_workers_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is asked for on the device that is the worker's, whose number is in no key and in no report."""
    asked: list[str] = []
    real: Callable[..., LoadedModel] = models.load

    def load(source: models.ModelSource, *, device: str, dtype: str, max_memory: None) -> LoadedModel:
        asked.append(device)
        return real(source, device="cpu", dtype=dtype, max_memory=max_memory)

    monkeypatch.setattr(models, "load", load)
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw2")
    chosen = settings(tmp_path, edit_counts="1")
    object.__setattr__(chosen, "device", "cuda")
    EvaluationSession(chosen, lambda _: None).model(miniature(chosen))
    assert (asked, chosen.device) == (["cuda:2"], "cuda")


@pytest.mark.usefixtures("four")
def test_more_workers_than_devices_are_refused() -> None:
    """The message says how many there are, and both ways out; as many workers as devices are allowed."""
    devices.refuse_more_workers("cuda", 4)
    devices.refuse_more_workers("cuda:0", 8)
    devices.refuse_more_workers("cpu", 8)
    with pytest.raises(ConfigError) as refused:
        devices.refuse_more_workers("cuda", 5)
    assert str(refused.value) == (
        "-n 5 with --device cuda: each worker takes a device, and there are 4. "
        "Allowed: at most -n 4, or one device for all workers: --device cuda:0."
    )


def test_the_command_line_refuses_in_one_line(tmp_path: Path) -> None:
    """`-n 2 --device=cuda` ends in a line before any worker begins, with one device as without any."""
    code = (
        "import sys, torch, types, pytest\n"
        "torch.get_device_module = lambda _: types.SimpleNamespace(device_count=lambda: 1)\n"
        "empty = torch.empty\n"
        "torch.empty = lambda *a, device=None, **k: empty(*a, **k)\n"
        "sys.exit(pytest.main(['-n', '2', '--device=cuda', '-k', 'rome', '--co', '-q', sys.argv[1]]))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", code, f"--store={tmp_path}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: -n 2 with --device cuda: each worker takes a device, and there are 1. Allowed" in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here, which the test does without")
def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Without CUDA `--device=cuda` is one sentence, with the way out."""
    with pytest.raises(ConfigError, match=r"^--device 'cuda' cannot be used: .*\. Try --device cpu\.$"):
        settings(tmp_path, edit_counts="1", device="cuda")


@pytest.fixture(scope="module")
def partly_on_disk() -> LoadedModel:
    """A shipped model of which `--device=auto` keeps the blocks that do not fit on disk."""
    pytest.importorskip("accelerate", reason="--device=auto needs it")
    return models.load(models.find("llama-mini"), device="auto", dtype="float32", max_memory={"cpu": 5_000_000})


def test_a_model_that_does_not_fit_is_edited(partly_on_disk: LoadedModel, tmp_path: Path) -> None:
    """It has the digest of the plain one, keeps the rules of integrity, and an edit gives the same bits."""
    plain = models.load(models.find("llama-mini"), device="cpu", dtype="float32")
    file = Path(plain.source.location) / "model.safetensors"
    before = file.read_bytes()
    assert placement.is_offloaded(partly_on_disk.model)
    assert partly_on_disk.digest == plain.digest
    assert conditions(partly_on_disk) == conditions(plain)
    edits = edit_lists.read(edit_lists.SHIPPED["counterfact"])[:3]
    spec = EditorSpec("ftl", "ftl")
    runs = [
        Trajectory(spec, base, edits, (1,), Store(tmp_path / str(n)), 0)
        for n, base in enumerate((plain, partly_on_disk))
    ]
    states = [run.editor_at(1).state() for run in runs]
    assert digest_tensors(states[0]) == digest_tensors(states[1])
    assert runs[0].norm_ratio(1) == runs[1].norm_ratio(1)
    for rule in trajectory_rules.RULES.values():
        rule(runs[1])
    assert file.read_bytes() == before


def test_a_foreign_method_is_refused_where_its_weights_would_be_lost(
    partly_on_disk: LoadedModel, tmp_path: Path
) -> None:
    """One line, with its name and the way out: it writes into weights that come for a pass only."""
    spec = EditorSpec("vandal", "editgate.controls:Vandal")
    run = Trajectory(
        spec, partly_on_disk, edit_lists.read(edit_lists.SHIPPED["counterfact"])[:1], (1,), Store(tmp_path)
    )
    with pytest.raises(
        UnsupportedModel, match=r"^vandal cannot edit a model of which weights are in main memory or on"
    ):
        run.model_at(1)


def test_a_model_whose_embedding_finds_no_room_is_refused() -> None:
    """One line, that names both options."""
    pytest.importorskip("accelerate", reason="--device=auto needs it")
    with pytest.raises(ConfigError, match=r"^--device auto finds no room for the model's embedding, .* --max-memory"):
        models.load(models.find("llama-mini"), device="auto", dtype="float32", max_memory={"cpu": 1000})


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are not two CUDA devices here")
def test_a_worker_edits_on_the_second_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On two GPUs the second worker's model and its edits are on the second one."""
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw1")
    chosen = settings(tmp_path, edit_counts="1", device="cuda")
    session = EvaluationSession(chosen, lambda _: None)
    spec = next(editor for editor in chosen.editors if editor.name == "rome")
    edited = session.trajectory(spec, miniature(chosen)).model_at(1)
    assert {str(each.device) for each in edited.parameters()} == {"cuda:1"}
