"""What all tests of the suite itself share."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import editgate
import editors


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all workers of a run: what the unedited model answers is asked once, not by every file."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "editgate-store"


@pytest.fixture(scope="session")
def everything_imported() -> None:
    """All modules of editgate and of the editors, but the gate's tests and what is only run as a program.

    And those of the shipped models' classes, which transformers imports when it first needs them. A class whose module
    is gone keeps the attention that it has, whatever `set_attn_implementation` asks for.
    """
    without_ray = () if importlib.util.find_spec("ray") else ("editgate.ray_run.pool",)
    for package in (editgate, editors):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith(("editgate.gate", "editgate.__main__", *without_ray)):
                importlib.import_module(module.name)
    for family in ("gpt2", "gpt_neox", "llama", "mistral"):
        importlib.import_module(f"transformers.models.{family}.modeling_{family}")


@pytest.fixture
def pytester(everything_imported: None, pytester: pytest.Pytester) -> pytest.Pytester:  # noqa: ARG001 - it comes first
    """Run pytest inside pytest: what is first imported in there goes out with it, and torch cannot come in twice."""
    return pytester


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One torch thread: on models this small a second one only waits, for long if the machine is busy."""
    import torch  # noqa: PLC0415 - this file is read whatever is collected

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
