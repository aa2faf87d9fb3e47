"""Calls into external code: check signatures, attribute exceptions to it, keep its warnings from becoming errors."""

from __future__ import annotations

import inspect
import random
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from editors.core.errors import EditorError, ForeignFailure, HyperparameterError

NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@contextmanager
def external_call(what: str) -> Iterator[None]:
    """Run external code: name its exceptions by `what`, and keep its warnings warnings.

    Raises:
        ForeignFailure: The code raised; its own exception, with its traceback, is the cause.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        try:
            yield
        except Exception as error:
            reason = str(error).strip() or "no message"
            raise ForeignFailure(f"{what} raised {type(error).__name__}: {reason}") from error


def mentions(error: BaseException | None, word: str) -> bool:
    """Whether an exception, or one that it came from, mentions a word."""
    while error is not None:
        if word in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, numpy and torch in the block, and restore their states afterwards."""
    import numpy as np  # noqa: PLC0415 - a typo on the command line is refused before either is imported
    import torch  # noqa: PLC0415 - as above

    python, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002 - external code draws from the global one
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - as above
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numbers)  # noqa: NPY002 - as above


def generator_states() -> tuple[object, ...]:
    """States of the global generators on the CPU; equal before and after code that draws from none of them."""
    import numpy as np  # noqa: PLC0415 - as in `seeded`
    import torch  # noqa: PLC0415 - as in `seeded`

    numbers: Any = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 - as in `seeded`
    return random.getstate(), numbers["key"].tobytes(), numbers["pos"], torch.get_rng_state().numpy().tobytes()


def accepted(
    spec: str, target: Callable[..., object], settings: Mapping[str, Any], offered: Mapping[str, Any]
) -> dict[str, Any]:
    """All settings, and those of the offered arguments that the target takes.

    Raises:
        HyperparameterError: The target does not take one of the settings.
    """
    parameters = inspect.signature(target).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return {**offered, **settings}
    own = [name for name in list(parameters)[len(_arguments(target)) :] if parameters[name].kind in NAMED]
    unknown = sorted(set(settings) - set(own))
    if unknown:
        takes = ", ".join(own) or "none"
        raise HyperparameterError(f"{spec!r} has no hyperparameter {', '.join(unknown)}; it takes {takes}")
    return {**{name: value for name, value in offered.items() if name in own}, **settings}


def check_shape(
    spec: str, target: Callable[..., object], settings: Mapping[str, Any], supplied: Collection[str]
) -> None:
    """Check that a target can be called as an editor, without a model.

    Args:
        spec: How the target was named, for messages.
        target: The class or function.
        settings: Its hyperparameters, as given.
        supplied: Names of further arguments that it gets if its signature has them.

    Raises:
        EditorError: It is neither a class with `apply(edit)` nor a function over edits.
        HyperparameterError: It needs a hyperparameter that is not given, or does not take one that is.
    """
    if not callable(target) or (inspect.isclass(target) and not callable(getattr(target, "apply", None))):
        raise EditorError(f"{spec!r} must be a class with apply(edit) or a function edit(model, tokenizer, edits)")
    accepted(spec, target, settings, {})
    arguments = _arguments(target)
    parameters = list(inspect.signature(target).parameters.values())
    later = [p.replace(default=None) if p.kind in NAMED else p for p in parameters[len(arguments) :]]  # checked below
    _must_take(spec, getattr(target, "__name__", "it"), target, arguments, parameters[: len(arguments)] + later)
    needed = [p.name for p in parameters[len(arguments) :] if p.kind in NAMED and p.default is inspect.Parameter.empty]
    missing = [name for name in needed if name not in settings and name not in supplied]
    if missing:
        raise HyperparameterError(f"{spec!r} needs the hyperparameter {', '.join(missing)}, which is not given")
    if inspect.isclass(target):
        bound = isinstance(inspect.getattr_static(target, "apply"), staticmethod | classmethod)
        apply: Callable[..., object] = target.apply  # type: ignore[attr-defined]  # it has one, see above
        apply_arguments = ("edit",) if bound else ("self", "edit")
        _must_take(spec, "apply", apply, apply_arguments, list(inspect.signature(apply).parameters.values()))
        many: Callable[..., object] | None = getattr(target, "apply_many", None)
        if callable(many):
            _must_take(spec, "apply_many", many, ("self", "edits"), list(inspect.signature(many).parameters.values()))


def _arguments(target: Callable[..., object]) -> tuple[str, ...]:
    return ("model", "tokenizer") if inspect.isclass(target) else ("model", "tokenizer", "edits")


def _must_take(
    spec: str, name: str, target: Callable[..., object], arguments: tuple[str, ...], parameters: list[inspect.Parameter]
) -> None:
    try:
        inspect.Signature(parameters).bind(*arguments)
    except TypeError as error:
        shown = ", ".join(argument for argument in arguments if argument != "self")
        raise EditorError(
            f"{spec!r} is called as {name}({shown}), but it is defined as {name}{inspect.signature(target)}: {error}"
        ) from None
