"""Adapter for external methods: a class with `apply(edit)` or a function over edits, behind the `Editor` interface.

A function takes batches; a class does with a method `apply_many(edits)`, which gets them whole.

What the method changes is unknown, so the whole model is copied once and every tensor compared with the copy. A method
of `kind = "wrapper"` (its object has state of its own, or exposes another model) is restored by replaying its edits.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from editors.core.edit import Edit
from editors.core.editor import MEMORY, Editor, Kind
from editors.core.errors import EditorError, ForeignFailure, StateMismatch
from editors.core.hyperparameters import BaseHyperparameters
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.core.weights import PREFIX, same_bits
from editors.external.calls import accepted, check_shape, external_call
from editors.external.wrapper_model import WrapperModel
from editors.memory.string_tensors import pack, unpack

REQUESTED = MEMORY + "requested"  # the requested edits, whether or not they changed anything


class ExternalEditor(Editor):
    """Adapter around an external class or function.

    A class is constructed as `Cls(model, tokenizer, **settings)`; its `model` attribute, where it has one, is
    what is evaluated. A function is called as `edit(model, tokenizer, edits, **settings)`, each time on the
    model so far, and returns the edited model, the same object or another. While the external code runs,
    parameters require gradients: at first all do, later those that it left so, and new ones. Modules are in the
    mode (training or evaluation) that it left them in; in between all are in evaluation mode.

    By default, state of its object outside the model's tensors is lost by `restore`. With an attribute
    `kind = "wrapper"` on the class or function it gets a copy of the model, and `restore` constructs it again and
    replays all edits: slower, but nothing is lost, and the model that it exposes need not have the base's tensors.

    Args:
        spec: How the target was named, for messages.
        target: The class or function.
        model: A causal language model.
        tokenizer: Its tokenizer.
        settings: The target's own keyword arguments.
        offered: Keyword arguments of `create` that the target gets if it takes them.

    Raises:
        EditorError: The target is neither, or its changes cannot be restored (tensors added, removed or
            reshaped).
        ForeignFailure: The external code raised, or returned something other than a model.
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
        check_shape(spec, target, settings, offered)
        self.spec = spec
        self._target = target
        self._is_class = inspect.isclass(target)
        self._takes_whole = not self._is_class or callable(getattr(target, "apply_many", None))
        self._replays = getattr(target, "kind", "weights") != "weights"
        self._settings = accepted(spec, target, settings, offered)
        self._original = self._model
        self._base = {name: value.detach().clone() for name, value in self._model.state_dict().items()}
        self._construct()

    def _construct(self) -> None:
        """Start from the original model, whose tensors must be the base's."""
        self._object: Any = None
        self._requested: list[str] = []
        self._applied = 0
        self._wrapper: WrapperModel | None = None
        self._frozen: set[str] = set()  # parameters that the external code froze itself
        self._in_training: list[nn.Module] = []  # modules that it left in training mode, such as dropout of an adapter
        self._model = copy.deepcopy(self._original) if self._replays else self._original
        if self._is_class:
            with external_call(f"{self.spec}: constructing it"):
                self._object = self._target(self._model, self.tokenizer, **self._settings)
            self._freeze()

    def _freeze(self) -> None:
        if isinstance(self._exposed, nn.Module):
            self._in_training = [module for module in self._exposed.modules() if module.training]
            self._exposed.train(mode=False)
            self._exposed.requires_grad_(requires_grad=False)

    def _thaw(self) -> None:
        """Give the external code the modes and flags back that it left; one that froze all parameters gets them all."""
        for module in self._in_training:
            module.training = True
        if isinstance(self._exposed, nn.Module):
            named = dict(self._exposed.named_parameters())
            all_frozen = self._frozen >= named.keys()
            for name, parameter in named.items():
                if parameter.is_floating_point():
                    parameter.requires_grad = all_frozen or name not in self._frozen

    @property
    def _exposed(self) -> Any:  # noqa: ANN401 - whatever the external code exposes
        return getattr(self._object, "model", self._model)

    @property
    def model(self) -> PreTrainedModel:
        """The model that the external code exposes or returned last, in a `WrapperModel` if it is something else."""
        if not self._replays:
            exposed: PreTrainedModel = self._exposed
            return exposed
        if not self._requested:
            return self._original
        if self._has_base_tensors(self._exposed):
            return self._exposed  # type: ignore[no-any-return]  # it has the base's tensors
        if self._wrapper is None or self._wrapper.exposed is not self._exposed:
            self._wrapper = WrapperModel(self._original, self._exposed, self.spec)
        return self._wrapper  # type: ignore[return-value]  # it has the methods that evaluation uses

    def _has_base_tensors(self, exposed: object) -> bool:
        """Whether an object is a module whose tensors have the base's names and shapes."""
        if not isinstance(exposed, nn.Module):
            return False
        return {n: v.shape for n, v in exposed.state_dict().items()} == {n: v.shape for n, v in self._base.items()}

    def _edit(self, edits: Sequence[Edit]) -> None:
        for group in [list(edits)] if self._takes_whole else [[edit] for edit in edits]:
            self._thaw()
            try:
                self._call(group)
                self._frozen = self._left_frozen()
            finally:
                self._freeze()
            threads = torch.get_num_threads()  # sums come out differently on another number of them
            self._requested.append(json.dumps({"edits": [edit.to_dict() for edit in group], "threads": threads}))
            self._applied += len(group)

    def _left_frozen(self) -> set[str]:
        if not isinstance(self._exposed, nn.Module):
            return set()
        return {name for name, parameter in self._exposed.named_parameters() if not parameter.requires_grad}

    def _call(self, edits: list[Edit]) -> None:
        what = f"{self.spec}: edit {self._applied + 1} ({edits[0].text!r} -> {edits[0].target_new!r})"
        with external_call(what):
            if self._is_class:
                result = self._object.apply(edits[0]) if len(edits) == 1 else self._object.apply_many(edits)
            else:
                result = self._target(self._model, self.tokenizer, edits, **self._settings)
        if not self._is_class:
            self._model = _returned(what, result)
        elif isinstance(result, nn.Module) and result is not self._exposed:
            raise ForeignFailure(f"{what}: apply(edit) returned a model that is ignored; set self.model to it.")
        if self._exposed is None:
            raise ForeignFailure(f"{what}: its attribute `model` is None; it must be the edited model.")

    def apply_many(self, edits: Sequence[Edit]) -> None:
        """Pass all edits to a function, or a class that takes batches, in one call; to any other one after another."""
        self._apply(edits)

    def state(self) -> dict[str, Tensor]:
        """Every tensor that differs from the base, and the requested edits."""
        content, lengths = pack(self._requested)
        requested = {f"{REQUESTED}.bytes": content, f"{REQUESTED}.lengths": lengths} if self._requested else {}
        if self._has_base_tensors(self._exposed):
            return self._changed() | requested
        if not self._replays:
            raise EditorError(
                f"{self.spec!r} added, removed or reshaped tensors; such a model cannot be restored. Set "
                "kind = 'wrapper' on the class or function, and its edits will be applied again instead"
            )
        return requested

    def _changed(self) -> dict[str, Tensor]:
        live: dict[str, Tensor] = self._exposed.state_dict()
        return {PREFIX + n: v.detach().clone() for n, v in live.items() if not same_bits(v, self._base[n])}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Write a state over the base, or replay its edits; see `Editor.restore`."""
        weights = {name: value for name, value in state.items() if not name.startswith(REQUESTED)}
        for name, value in weights.items():
            self._check(name, value)
        names = [f"{REQUESTED}.bytes", f"{REQUESTED}.lengths"]
        requested = unpack(*(state[name] for name in names)) if any(name in state for name in names) else []
        self._model = self._original
        self._write({})
        self._construct()
        if self._replays:
            self._replay(requested, weights)
        else:
            self._write(weights)
            self._requested = requested
            self._applied = sum(len(json.loads(record)["edits"]) for record in requested)

    def _replay(self, requested: list[str], weights: Mapping[str, Tensor]) -> None:
        for record in map(json.loads, requested):
            with _threads(record["threads"]):
                self._apply([Edit.from_dict(edit) for edit in record["edits"]])
        now = self._changed() if self._has_base_tensors(self._exposed) else {}
        if now.keys() != weights.keys() or not all(same_bits(now[name], weights[name]) for name in now):
            raise StateMismatch(
                f"{self.spec!r} gave other weights when its {self._applied} edits were applied again. Set the seed "
                "of whatever it draws from the argument `seed`, in the constructor or in every call"
            )

    def _check(self, name: str, value: Tensor) -> None:
        base = self._base.get(name.removeprefix(PREFIX))
        if not name.startswith(PREFIX) or base is None:
            raise StateMismatch(f"the state contains {name!r}, which this model does not have")
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


def _returned(what: str, result: object) -> PreTrainedModel:
    """The model that a function returned.

    Raises:
        ForeignFailure: It returned something else.
    """
    if result is None:
        raise ForeignFailure(f"{what}: the function returned None; return the edited model, also if edited in place.")
    if not callable(result):
        kind = type(result).__name__
        raise ForeignFailure(f"{what}: the function returned a {kind}; return the edited model and nothing else.")
    return result  # type: ignore[return-value]  # it is callable; the integrity rules check more


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
