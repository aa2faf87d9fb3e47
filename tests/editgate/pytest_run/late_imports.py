"""When torch is imported: as late as possible, and then with few threads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from editgate import importing

if os.getloadavg()[0] > len(os.sched_getaffinity(0)) and "torch" not in sys.modules:
    # On a busy machine threads that spin while they wait cost most of all, on an idle one those that sleep. More
    # than all cores must be busy: an installation just before leaves a load of 1. torch reads this when imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextmanager
def measuring() -> Iterator[None]:
    """Inside, import torch and what finds answers in the store: seconds that a refused command line never pays.

    Raises:
        ConfigError: as `importing.quietly`.
    """
    with importing.quietly():
        yield
    limit_threads()


def limit_threads() -> None:
    """More threads than cores make every worker slower."""
    import torch  # noqa: PLC0415 - it is there, or needed

    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // workers))


def spare_summary_of_hypothesis(config: pytest.Config) -> None:
    """Let hypothesis's plugin go where nothing imported hypothesis, which it would do to summarize nothing."""
    plugin = config.pluginmanager.get_plugin("hypothesispytest")
    if plugin is not None and "hypothesis" not in sys.modules:
        config.pluginmanager.unregister(plugin)
