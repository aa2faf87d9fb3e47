"""Somebody else's method behind the same contract: a class with `apply(edit)` or a function over edits.

Nothing is known of what it does, so the whole model is copied once and every tensor compared with the copy. A method of
`kind = "wrapper"` (its object remembers something, or shows another model) is put back by applying its edits again.
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
from editors.external.calls import accepted, check_shape, theirs
from editors.external.wrapper_model import AnsweringModel
from editors.memory.string_tensors import pack, unpack

REQUESTED = MEMORY + "requested"  # what was asked for; says nothing of what was done


class ForeignEditor(Editor):
    """Adapter around a foreign class or function.

    A class is constructed as `Cls(model, tokenizer, **settings)`; its `model` attribute, where it has one, is
    what is evaluated. A function is called as `edit(model, tokenizer, edits, **settings)`, each time on the
    model so far, and returns the edited model, the same object or another. Gradients may be asked for while the
    foreign code runs.

    By default what its object remembers outside the model's tensors starts anew after `restore`. With an attribute
    `kind = "wrapper"` on the class or function it gets a copy of the model, and `restore` makes it anew and applies
    all edits again: slower, but nothing is lost, and what it shows need not have the base's tensors.

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
        ForeignFailure: The foreign code raised, or returned something else than a model.
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
        self._again = getattr(target, "kind", "weights") != "weights"
        self._settings = accepted(spec, target, settings, offered)
        self._original = self._model
        self._base = {name: value.detach().clone() for name, value in self._model.state_dict().items()}
        self._construct()

    def _construct(self) -> None:
        """Begin at the model that was handed over, which holds the base's tensors now."""
        self._object: Any = None
        self._requested: list[str] = []
        self._answering: AnsweringModel | None = None
        self._model = copy.deepcopy(self._original) if self._again else self._original
        if self._is_class:
            with theirs(f"{self.spec}: constructing it"):
                self._object = self._target(self._model, self.tokenizer, **self._settings)
            self._freeze()

    def _freeze(self) -> None:
        if isinstance(self._shown, nn.Module):
            self._shown.train(mode=False)
            self._shown.requires_grad_(requires_grad=False)

    @property
    def _shown(self) -> Any:  # noqa: ANN401 - whatever the foreign code shows
        return getattr(self._object, "model", self._model)

    @property
    def model(self) -> PreTrainedModel:
        """The model that the foreign object shows or the function returned last, behind `Answering` if it is none."""
        if not self._again:
            shown: PreTrainedModel = self._shown
            return shown
        if not self._requested:
            return self._original
        if self._alike(self._shown):
            return self._shown  # type: ignore[no-any-return]  # it has the base's tensors
        if self._answering is None or self._answering.shown is not self._shown:
            self._answering = AnsweringModel(self._original, self._shown, self.spec)
        return self._answering  # type: ignore[return-value]  # as much of a model as evaluations need

    def _alike(self, shown: object) -> bool:
        """Whether it is a module with the base's tensors, by name and shape."""
        if not isinstance(shown, nn.Module):
            return False
        return {n: v.shape for n, v in shown.state_dict().items()} == {n: v.shape for n, v in self._base.items()}

    def _edit(self, edits: Sequence[Edit]) -> None:
        for group in [[edit] for edit in edits] if self._is_class else [list(edits)]:
            if isinstance(self._shown, nn.Module):
                self._shown.requires_grad_(requires_grad=True)
            try:
                self._ask(group)
            finally:
                self._freeze()
            threads = torch.get_num_threads()  # sums come out differently on another number of them
            self._requested += [json.dumps({"edit": edit.to_dict(), "threads": threads}) for edit in group]

    def _ask(self, edits: list[Edit]) -> None:
        what = f"{self.spec}: edit {len(self._requested) + 1} ({edits[0].text!r} -> {edits[0].target_new!r})"
        with theirs(what):
            if self._is_class:
                result = self._object.apply(edits[0])
            else:
                result = self._target(self._model, self.tokenizer, edits, **self._settings)
        if not self._is_class:
            self._model = _returned(what, result)
        elif isinstance(result, nn.Module) and result is not self._shown:
            raise ForeignFailure(f"{what}: apply(edit) returned a model that nobody looks at; set self.model to it.")
        if self._shown is None:
            raise ForeignFailure(f"{what}: its attribute `model` is None; it must be the edited model.")

    def apply_many(self, edits: Sequence[Edit]) -> None:
        """Hand a function all edits at once; a class gets one after another."""
        self._apply(edits)

    def state(self) -> dict[str, Tensor]:
        """Every tensor that differs from the base, and which edits were asked for."""
        content, lengths = pack(self._requested)
        asked = {f"{REQUESTED}.bytes": content, f"{REQUESTED}.lengths": lengths} if self._requested else {}
        if self._alike(self._shown):
            return self._changed() | asked
        if not self._again:
            raise EditorError(
                f"{self.spec!r} added, removed or reshaped tensors; such a model cannot be put back. Set "
                "kind = 'wrapper' on the class or function, and its edits will be applied again instead"
            )
        return asked

    def _changed(self) -> dict[str, Tensor]:
        live: dict[str, Tensor] = self._shown.state_dict()
        return {PREFIX + n: v.detach().clone() for n, v in live.items() if not same_bits(v, self._base[n])}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Write a state over the base, or apply its edits again; see `Editor.restore`."""
        weights = {name: value for name, value in state.items() if not name.startswith(REQUESTED)}
        for name, value in weights.items():
            self._check(name, value)
        asked = [f"{REQUESTED}.bytes", f"{REQUESTED}.lengths"]
        requested = unpack(*(state[name] for name in asked)) if any(name in state for name in asked) else []
        self._model = self._original
        self._write({})
        self._construct()
        if self._again:
            self._repeat(requested, weights)
        else:
            self._write(weights)
            self._requested = requested

    def _repeat(self, requested: list[str], weights: Mapping[str, Tensor]) -> None:
        for record in map(json.loads, requested):
            with _threads(record["threads"]):
                self._apply([Edit.from_dict(record["edit"])])
        now = self._changed() if self._alike(self._shown) else {}
        if now.keys() != weights.keys() or not all(same_bits(now[name], weights[name]) for name in now):
            raise StateMismatch(
                f"{self.spec!r} gave other weights when its {len(requested)} edits were applied again. Set the seed "
                "of whatever it draws from the argument `seed`, in the constructor or in every call"
            )

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
    return result  # type: ignore[return-value]  # something that can be called; the integrity rules look closer


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
