"""When transformers and lm-eval are imported: when something is measured, so that a run out of the store never pays."""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from editgate.errors import ConfigError
from editgate.measure.time_spent import spending
from editors.external.calls import mentions

TORCHVISION = (
    "transformers cannot be imported, because torchvision in this environment was built for another torch. Install the "
    "build for yours (for CPUs from PyTorch's own index), or uninstall it: editgate does not need it."
)


@contextmanager
def quietly() -> Iterator[None]:
    """Inside, import libraries: what they say meanwhile is no error, and nobody looks for garbage.

    Raises:
        ConfigError: a torchvision for another torch breaks transformers, whose own message does not name it.
    """
    before = len(sys.modules)
    gc.disable()  # imports leave little garbage, and looking for it takes a seventh of their time
    try:
        with warnings.catch_warnings(action="default"):
            yield
    except ImportError as error:
        if mentions(error, "torchvision"):
            raise ConfigError(TORCHVISION) from error
        raise
    finally:
        if len(sys.modules) > before:
            gc.freeze()  # nor is it worth looking through them again and again
        gc.enable()


def what_measures() -> None:
    """Import what asks models and edits them; the first time that takes seconds.

    Raises:
        ConfigError: as `quietly`.
    """
    with spending("importing libraries"), quietly():
        from transformers import PreTrainedModel  # noqa: F401, PLC0415 - see the module

        from editgate.measure import evaluate  # noqa: F401, PLC0415 - as above
        from editgate.measure.integrity import checkpoint_rules, trajectory_rules  # noqa: F401, PLC0415 - as above
