"""Somebody else's method behind the same contract: a class with `apply(edit)` or a function over edits.

Nothing is known of what it does, so the whole model is copied once and every tensor compared with the copy.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from editors.parts.base import Editor, Kind
from editors.parts.edit import Edit
from editors.parts.errors import EditorError, HyperparameterError, StateMismatch
from editors.parts.hyperparameters import BaseHyperparameters
from editors.parts.types import PreTrainedModel, PreTrainedTokenizerBase
from editors.parts.weights import PREFIX, same_bits


class ForeignEditor(Editor):
    """Adapter around a foreign class or function.

    A class is constructed as `Cls(model, tokenizer, **settings)`; its `model` attribute, where it has one, is
    what is evaluated. A function is called as `edit(model, tokenizer, edits, **settings)`, each time on the
    model so far; it may work in place or return another model. Gradients may be asked for while the foreign
    code runs. What its object remembers outside the model's tensors starts anew after `restore`.

    Args:
        spec: How the target was named, for messages.
        target: The class or function.
        model: A causal language model.
        tokenizer: Its tokenizer.
        settings: The target's own keyword arguments.
        offered: Keyword arguments of `create` that the target gets if it takes them.

    Raises:
        EditorError: The target is neither, or what it does cannot be put back (tensors added, removed or
            reshaped).
        HyperparameterError: The target does not take one of the settings.
    """

    name: ClassVar[str] = "foreign"
    kind: ClassVar[Kind] = "weights"
    Hyperparameters: ClassVar[type[BaseHyperparameters]] = BaseHyperparameters

    def __init__(
        self,
        spec: str,
        target: Callable[..., Any],
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        settings: Mapping[str, Any],
        offered: Mapping[str, Any],
    ) -> None:
        super().__init__(model, tokenizer, hyperparameters=BaseHyperparameters())
        if not callable(target) or (inspect.isclass(target) and not callable(getattr(target, "apply", None))):
            raise EditorError(f"{spec!r} must be a class with apply(edit) or a function edit(model, tokenizer, edits)")
        self.spec = spec
        self._target = target
        self._is_class = inspect.isclass(target)
        self._settings = accepted(spec, target, settings, offered)
        self._original = self._model
        self._base = {name: value.detach().clone() for name, value in self._model.state_dict().items()}
        self._object: Any = None
        self._construct()

    def _construct(self) -> None:
        if self._is_class:
            self._object = self._target(self._original, self.tokenizer, **self._settings)
            self._freeze()

    def _freeze(self) -> None:
        self.model.train(mode=False)
        self.model.requires_grad_(requires_grad=False)

    @property
    def model(self) -> PreTrainedModel:
        """The model that the foreign object shows, or that the function returned last."""
        shown: PreTrainedModel = getattr(self._object, "model", self._model)
        return shown

    def _edit(self, edits: Sequence[Edit]) -> None:
        self.model.requires_grad_(requires_grad=True)
        try:
            if self._is_class:
                for edit in edits:
                    self._object.apply(edit)
            else:
                result = self._target(self._model, self.tokenizer, list(edits), **self._settings)
                self._model = self._model if result is None else result
        finally:
            self._freeze()

    def apply_many(self, edits: Sequence[Edit]) -> None:
        """Hand a function all edits at once; a class gets one after another."""
        self._apply(edits)

    def state(self) -> dict[str, Tensor]:
        """Every tensor that differs from the base."""
        live: dict[str, Tensor] = self.model.state_dict()
        if {name: value.shape for name, value in live.items()} != {n: v.shape for n, v in self._base.items()}:
            raise EditorError(f"{self.spec!r} added, removed or reshaped tensors; such a model cannot be put back")
        return {
            PREFIX + name: value.detach().clone()
            for name, value in live.items()
            if not same_bits(value, self._base[name])
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Write a state over the base; see `Editor.restore`."""
        for name, value in state.items():
            self._check(name, value)
        self._model = self._original
        self._write({})
        self._construct()
        self._write(state)

    def _check(self, name: str, value: Tensor) -> None:
        base = self._base.get(name.removeprefix(PREFIX))
        if not name.startswith(PREFIX) or base is None:
            raise StateMismatch(f"the state holds {name!r}, which this model does not have")
        if (base.shape, base.dtype) != (value.shape, value.dtype):
            raise StateMismatch(f"{name} is {tuple(value.shape)} {value.dtype} in the state, not so in the model")

    @torch.no_grad()
    def _write(self, state: Mapping[str, Tensor]) -> None:
        live: dict[str, Tensor] = self._original.state_dict()
        wanted = {name: state.get(PREFIX + name, base) for name, base in self._base.items()}
        for name, value in wanted.items():
            live[name].copy_(value)
        if not all(same_bits(live[name], value) for name, value in wanted.items()):
            raise StateMismatch("the state unties tensors that this model shares; it cannot be written into it")


def accepted(
    spec: str, target: Callable[..., object], settings: Mapping[str, Any], offered: Mapping[str, Any]
) -> dict[str, Any]:
    """All settings, and of what is offered the part that the target takes.

    Raises:
        HyperparameterError: The target does not take one of the settings.
    """
    parameters = inspect.signature(target).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return {**offered, **settings}
    own = list(parameters)[2:] if inspect.isclass(target) else list(parameters)[3:]
    unknown = sorted(set(settings) - set(own))
    if unknown:
        takes = ", ".join(own) or "none"
        raise HyperparameterError(f"{spec!r} has no hyperparameter {', '.join(unknown)}; it takes {takes}")
    return {**{name: value for name, value in offered.items() if name in own}, **settings}
