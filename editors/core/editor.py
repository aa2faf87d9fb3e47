"""What every editor is: one model under one method, with a way to apply, save, restore and take back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from editors.core.edit import Edit
from editors.core.errors import NonFiniteEdit, StateMismatch
from editors.core.hyperparameters import BaseHyperparameters
from editors.core.resources import EditorResources
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.core.weights import PREFIX, Weights
from editors.models.contexts import Contexts, checked

Kind = Literal["weights", "wrapper", "prompt"]
MEMORY = "memory:"


class Editor(ABC):
    """One model, one method, edits applied one after another in place.

    Args:
        model: A Hugging Face causal language model; put into eval mode, its parameters frozen.
        tokenizer: Its tokenizer.
        hyperparameters: The method's record.
        supplies: Texts, training edits, ready-made covariances and contexts, the seed.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind]
    Hyperparameters: ClassVar[type[BaseHyperparameters]]

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        hyperparameters: BaseHyperparameters,
        resources: EditorResources | None = None,
    ) -> None:
        resources = resources or EditorResources()
        self.tokenizer = tokenizer
        self.hyperparameters = hyperparameters
        self.resources = resources
        self.seed = resources.seed
        self._model: PreTrainedModel = model.requires_grad_(requires_grad=False)
        self._model.train(mode=False)
        self._contexts = None if resources.contexts is None else checked(resources.contexts)
        self._covariances = dict(resources.covariances)
        self._weights = Weights(model)
        self._diagnostics: dict[str, float] = {}
        self._prepared = False
        self._sink = resources.record

    @property
    def model(self) -> PreTrainedModel:
        """What to evaluate: the model after the edits so far, or the wrapper that answers in its place."""
        return self._model

    @property
    def contexts(self) -> Contexts:
        """The context templates in use; makes them if there are none yet."""
        self.prepare()
        return self._contexts or ()

    def prepare(self) -> None:
        """Make what depends on the pristine model only (contexts, covariances, trained networks), once.

        Runs at the first edit by itself. If edits were restored before, it runs on the base weights all the
        same.

        Raises:
            MissingCorpus: A covariance is needed and there is nothing to compute it from.
            MissingTraining: A network must be trained and there are no edits to train it on.
        """
        if not self._prepared:
            with self._weights.pristine():
                self._prepare()
            self._prepared = True

    def cost(self) -> str:
        """In words, what `prepare` will take, where that is much and can be told before; else empty."""
        return ""

    def prepared(self) -> dict[str, Tensor]:
        """What `prepare` computed, fit for safetensors; prepares if that was not done yet."""
        self.prepare()
        return self._made()

    def load_prepared(self, tensors: Mapping[str, Tensor], contexts: Sequence[Sequence[str]] | None = None) -> None:
        """Take what an earlier `prepared()` gave (and its `contexts`) instead of computing it."""
        self._take(tensors)
        if contexts is not None:
            self._contexts = checked(contexts)
        self._prepared = False

    def apply(self, edit: Edit) -> None:
        """Apply one edit, in place, on top of those before.

        Raises:
            NonFiniteEdit: The update holds NaN or infinity; the weights are as before.
            EditError: The edit does not suit the tokenizer.
        """
        self._apply([edit])

    def apply_many(self, edits: Sequence[Edit]) -> None:
        """Apply several edits: at once if the method knows batches, else one after another."""
        for edit in edits:
            self.apply(edit)

    def _apply(self, edits: Sequence[Edit]) -> None:
        if not edits:
            return
        self.prepare()
        self._diagnostics = {}
        try:
            with self._weights.transaction(), torch.inference_mode(mode=False), torch.enable_grad():
                self._edit(edits)
        except NonFiniteEdit as error:
            asked = "; ".join(f"{edit.text!r} -> {edit.target_new!r}" for edit in edits)
            raise NonFiniteEdit(f"{self.name}: {error}, at the edit {asked}; the weights are as before") from None

    def state(self) -> dict[str, Tensor]:
        """All that differs from the base: `weight:<parameter>`, `memory:<what the method carries along>`."""
        return self._weights.state() | {MEMORY + name: value for name, value in self._memory().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state, bit by bit; `{}` is the base.

        Raises:
            StateMismatch: A name, shape or dtype does not fit; nothing is changed.
        """
        strange = [name for name in state if not name.startswith((PREFIX, MEMORY))]
        if strange:
            raise StateMismatch(f"the state holds {', '.join(strange)}; names begin with {PREFIX!r} or {MEMORY!r}")
        memory = {name.removeprefix(MEMORY): value for name, value in state.items() if name.startswith(MEMORY)}
        self._check_memory(memory)
        self._weights.restore({name: value for name, value in state.items() if name.startswith(PREFIX)})
        self._load_memory(memory)
        self._diagnostics = {}

    def undo(self) -> None:
        """Return to the base, bit by bit."""
        self.restore({})

    def diagnostics(self) -> dict[str, float]:
        """Numbers of the last apply, e.g. the search's last loss and steps, the length of the update."""
        return dict(self._diagnostics)

    def record(self, name: str, value: Tensor) -> None:
        """Hand an intermediate to whoever asked for it."""
        if self._sink is not None:
            self._sink(name, value.detach().clone())

    @abstractmethod
    def _edit(self, edits: Sequence[Edit]) -> None:
        """Apply edits as one batch, writing through `self._weights`."""

    def _prepare(self) -> None:  # noqa: B027 - a method that needs nothing has nothing to do
        """Make what depends on the pristine model; called on base weights."""

    def _made(self) -> dict[str, Tensor]:
        """What `_prepare` made, by name."""
        return dict(self._covariances)

    def _take(self, made: Mapping[str, Tensor]) -> None:
        """Take over what `_made` gave; `_prepare` then finds it there."""
        self._covariances.update(made)

    def _memory(self) -> dict[str, Tensor]:
        """What the method carries from edit to edit beside weights."""
        return {}

    def _check_memory(self, memory: Mapping[str, Tensor]) -> None:
        """Refuse a memory that is not this method's."""
        if memory:
            raise StateMismatch(f"the state holds {', '.join(memory)}, which {self.name} does not keep")

    def _load_memory(self, memory: Mapping[str, Tensor]) -> None:  # noqa: B027 - most methods keep none
        """Take over a memory that `_check_memory` let pass."""
