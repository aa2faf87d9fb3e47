"""What somebody else's class may say of itself besides `kind`, `takes_batches` and `needs_subject`; all is optional.

Each is a class or static method that gets the hyperparameters: `covariance_paths(settings)` names the modules whose
covariances it wants, in the argument `covariances` of its constructor; `files(settings)` names further files that its
results depend on; `check_model(settings, model)` raises an EditorError if it cannot edit that model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from editors.core.registry import resolve
from editors.core.typing import PreTrainedModel


def has(hook: str, spec: str) -> bool:
    """Whether an external class has one of these methods."""
    return callable(getattr(resolve(spec), hook, None))


def covariance_paths(spec: str, settings: Mapping[str, object]) -> Sequence[str]:
    """Paths of the modules whose covariances an external class wants."""
    named: Sequence[str] = _asked(spec, "covariance_paths", settings) or ()
    return named


def files(spec: str, settings: Mapping[str, object]) -> Mapping[str, Path]:
    """Files that an external class's results depend on, besides those that are hyperparameters, by a name."""
    named: Mapping[str, Path] = _asked(spec, "files", settings) or {}
    return named


def check_model(spec: str, settings: Mapping[str, object], model: PreTrainedModel) -> None:
    """Let an external class look at a model, whose tensors may have no values.

    Raises:
        EditorError: It cannot edit that model.
    """
    _asked(spec, "check_model", settings, model)


def _asked(spec: str, hook: str, *arguments: object) -> Any:  # noqa: ANN401 - what that class returns
    found = getattr(resolve(spec), hook, None)
    return found(*arguments) if callable(found) else None
