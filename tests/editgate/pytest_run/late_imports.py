"""When torch, transformers and lm-eval are imported: as late as possible, and then with few threads."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from editgate.errors import ConfigError
from editors.external.calls import mentions

TORCHVISION = (
    "transformers cannot be imported, because torchvision in this environment was built for another torch. Install the "
    "build for yours (for CPUs from PyTorch's own index), or uninstall it: editgate does not need it."
)

if os.getloadavg()[0] > len(os.sched_getaffinity(0)) and "torch" not in sys.modules:
    # On a busy machine threads that spin while they wait cost most of all, on an idle one those that sleep. More
    # than all cores must be busy: an installation just before leaves a load of 1. torch reads this when imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextmanager
def measuring() -> Iterator[None]:
    """Inside, import what measures: torch, transformers and lm-eval, seconds that a refused command line never pays.

    Raises:
        ConfigError: a torchvision for another torch breaks transformers, whose own message does not name it.
    """
    first = "editgate.measure.session" not in sys.modules
    gc.disable()  # imports leave little garbage, and looking for it takes a seventh of their time
    try:
        with warnings.catch_warnings(action="default"):  # what a dependency says while it is imported is no error
            yield
    except ImportError as error:
        if mentions(error, "torchvision"):
            raise ConfigError(TORCHVISION) from error
        raise
    finally:
        if first:
            gc.freeze()  # nor is it worth looking through them again and again
        gc.enable()
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
