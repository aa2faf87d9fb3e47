"""What --ray and --ray-worker may be: one line for what they may not."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from editgate.errors import ConfigError
from editgate.options.options import Options
from editgate.ray_run import request
from editgate.ray_run.request import Request, Share
from meta.support.gate import run_gate
from meta.support.settings_factory import miniature, settings


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Ray were installed, where it is not."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: ModuleSpec("ray", None) if name == "ray" else find(name)
    )


def read(store: Path, **options: str) -> Request:
    return request.read(Options.of(options), [miniature(settings(store))])


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"ray": "tests/"}, "--ray 'tests/' is no address"),
        ({"ray": "ray://host:10001"}, "is no address"),
        ({"ray": "host:70000"}, "is no address"),
        ({"ray": "host"}, "HOST:PORT"),
        ({"ray": "auto", "device": "mps"}, "--device mps with --ray"),
        ({"ray": "auto", "device": "cuda:1"}, "--device cuda:1 with --ray"),
        ({"ray": "auto", "ray_worker": "cores=2"}, "--ray-worker 'cores=2'"),
        ({"ray": "auto", "ray_worker": "memory=8"}, "memory=SIZE"),
        ({"ray": "auto", "ray_worker": "cpus=2GB"}, "--ray-worker 'cpus=2GB'"),
        ({"ray": "auto", "ray_worker": "cpus=inf"}, "--ray-worker 'cpus=inf'"),
        ({"ray": "auto", "ray_worker": "memory=8bananas"}, "8GB or 500MiB"),
        ({"ray": "auto", "ray_worker": "cores=2GB"}, "--ray-worker 'cores=2GB'"),
        ({"ray": "auto", "ray_worker": "cpus=0"}, "a worker takes some"),
        ({"ray": "auto", "device": "cuda", "ray_worker": "gpus=0"}, "a worker takes some"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(tmp_path: Path, options: dict[str, str], named: str) -> None:
    """The message has the option, the value and what is allowed."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, **options)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_the_package_the_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the extra."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'editgate\[ray\]'"):
        read(tmp_path, ray="here")


@pytest.mark.usefixtures("installed")
def test_a_worker_takes_memory_for_the_model_unless_told_otherwise(tmp_path: Path) -> None:
    """The largest model's weights as they are in memory (16-bit files in float32 are twice as large), and a process."""
    model = miniature(settings(tmp_path))
    files = sum(path.stat().st_size for path in Path(model.location).glob("*.safetensors"))
    share = read(tmp_path, ray="auto").share
    assert share == Share(1, 0, int(request.PROCESS + request.A_MODEL * 2 * files))
    assert read(tmp_path, ray="auto", dtype="float16").share.memory < share.memory
    told = read(tmp_path, ray="auto", device="cuda", ray_worker="cpus=2,gpus=0.5,memory=1.5GB").share
    assert told == Share(2, 0.5, 1_500_000_000)
    assert str(told) == "cpus=2,gpus=0.5,memory=1.5GB"
    assert read(tmp_path, ray="auto", ray_worker="memory=0").share == Share(1, 0, 0)
    assert read(tmp_path, ray="auto", ray_worker="memory=40GiB").share == Share(1, 0, 40 * 2**30)


@pytest.mark.parametrize(
    ("there", "workers"),
    [
        ({"CPU": 8.0, "GPU": 2.0, "memory": 100.0}, 2),
        ({"CPU": 8.0, "GPU": 2.0, "memory": 35.0}, 1),
        ({"CPU": 1.0, "GPU": 2.0, "memory": 100.0}, 0),
        ({"CPU": 8.0, "memory": 100.0}, 0),
    ],
)
def test_a_node_has_room_for_whole_workers(there: dict[str, float], workers: int) -> None:
    """The scarcest of cores, devices and memory decides."""
    assert Share(2, 1, 20).fit_into(there) == workers


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--ray", "--shard=1/2"), "without --shard"),
        (("--ray", "--items=auto"), "--ray with --items=auto"),
        (("--ray-worker=cpus=2",), "--ray-worker without --ray"),
        (("--ray=nobody",), "--ray 'nobody' is no address"),
    ],
)
def test_what_does_not_go_together_is_a_usage_error(
    pytester: pytest.Pytester, options: tuple[str, ...], named: str
) -> None:
    """Before anything is collected, and without importing Ray."""
    before = "ray" in sys.modules
    result = run_gate(pytester, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert named in "\n".join(result.errlines)
    assert ("ray" in sys.modules) == before
