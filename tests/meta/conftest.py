"""What all tests of the suite itself share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all workers of a run: what the unedited model answers is asked once, not by every file."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "editgate-store"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One torch thread: on models this small a second one only waits, for long if the machine is busy."""
    import torch  # noqa: PLC0415 - this file is read whatever is collected

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
