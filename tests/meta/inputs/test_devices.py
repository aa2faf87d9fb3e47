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

from editgate.errors import ConfigError
from editgate.inputs import models
from editgate.measure.session import EvaluationSession
from editgate.options import devices
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
    real: Callable[..., models.LoadedModel] = models.load

    def load(source: models.ModelSource, *, device: str, dtype: str, max_memory: None) -> models.LoadedModel:
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


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are not two CUDA devices here")
def test_a_worker_edits_on_the_second_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On two GPUs the second worker's model and its edits are on the second one."""
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw1")
    chosen = settings(tmp_path, edit_counts="1", device="cuda")
    session = EvaluationSession(chosen, lambda _: None)
    spec = next(editor for editor in chosen.editors if editor.name == "rome")
    edited = session.trajectory(spec, miniature(chosen)).model_at(1)
    assert {str(each.device) for each in edited.parameters()} == {"cuda:1"}
