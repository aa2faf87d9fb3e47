"""The interface of every editor: apply edits to one model, save, restore and undo them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from editors.core import placement
from editors.core.edit import Edit
from editors.core.errors import EditError, NonFiniteEdit, StateMismatch, UnsupportedModel
from editors.core.hyperparameters import BaseHyperparameters
from editors.core.resources import EditorResources
from editors.core.tensors import Tensors
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
        resources: Texts, training edits, ready-made covariances and contexts, the seed.

    Raises:
        UnsupportedModel: The method cannot edit this model, as where `needs_one_device`.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind]
    takes_batches: ClassVar[bool] = False  # whether several edits are applied as one; `_edit` then gets all of them
    needs_subject: ClassVar[bool] = False  # whether an edit must say its subject
    needs_one_device: ClassVar[bool] = False  # whether it cannot edit a model whose blocks several devices compute
    Hyperparameters: ClassVar[type[BaseHyperparameters]]

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        hyperparameters: BaseHyperparameters,
        resources: EditorResources | None = None,
    ) -> None:
        if self.needs_one_device and len(placement.devices(model)) > 1:
            there = ", ".join(sorted(map(str, placement.devices(model))))
            raise UnsupportedModel(f"{self.name} needs the model on one device, and it is on {there}")
        resources = resources or EditorResources()
        self.tokenizer = tokenizer
        self.hyperparameters = hyperparameters
        self.resources = resources
        self.seed = resources.seed
        self._model: PreTrainedModel = model.requires_grad_(requires_grad=False)
        self._model.train(mode=False)
        self._contexts = None if resources.contexts is None else checked(resources.contexts)
        self._covariances = Tensors(resources.covariances)
        self._weights = Weights(model)
        self._diagnostics: dict[str, float] = {}
        self._prepared = False
        self._sink = resources.record

    @property
    def model(self) -> PreTrainedModel:
        """The model to evaluate: the edited model, or a wrapper around it."""
        return self._model

    @property
    def contexts(self) -> Contexts:
        """The context templates; generated on first use."""
        self.prepare()
        return self._contexts or ()

    def prepare(self) -> None:
        """Compute what depends on the unedited model only (contexts, covariances, trained networks), once.

        Called automatically before the first edit; always runs on the base weights, even after a `restore`.

        Raises:
            MissingCorpus: A covariance is needed and there is nothing to compute it from.
            MissingTraining: A network must be trained and there are no edits to train it on.
        """
        if not self._prepared:
            with self._weights.pristine():
                self._prepare()
            self._prepared = True

    def cost(self) -> str:
        """Describe what `prepare` will take, if that is known and large; else an empty string."""
        return ""

    def prepared(self) -> dict[str, Tensor]:
        """Tensors that `prepare` computed, ready for safetensors; calls `prepare` if necessary."""
        return dict(self.each_prepared())

    def each_prepared(self) -> Mapping[str, Tensor]:
        """As `prepared`, but a tensor may be read only when it is asked for: all at once may be gigabytes."""
        self.prepare()
        return self._prepared_tensors()

    def load_prepared(self, tensors: Mapping[str, Tensor], contexts: Sequence[Sequence[str]] | None = None) -> None:
        """Load what an earlier `prepared()` returned (and its `contexts`) instead of computing it.

        Tensors of a mapping that reads them from somewhere are not asked for before they are needed, covariances and
        projections at each edit anew.
        """
        self._load_prepared(tensors)
        if contexts is not None:
            self._contexts = checked(contexts)
        self._prepared = False

    def apply(self, edit: Edit) -> None:
        """Apply one edit, in place, on top of the earlier ones.

        Raises:
            NonFiniteEdit: The update contains NaN or infinity; the weights are unchanged.
            EditError: The edit cannot be tokenized as the method needs, or has no subject where it needs one.
        """
        self._apply([edit])

    def apply_many(self, edits: Sequence[Edit]) -> None:
        """Apply several edits: as one batch if the method supports batches, else one after another."""
        if self.takes_batches:
            self._apply(edits)
            return
        for edit in edits:
            self.apply(edit)

    def _apply(self, edits: Sequence[Edit]) -> None:
        if not edits:
            return
        nameless = next((edit for edit in edits if edit.subject is None), None)
        if self.needs_subject and nameless is not None:
            raise EditError(f"{self.name} needs the subject of an edit, and {nameless.text!r} has none")
        self.prepare()
        self._diagnostics = {}
        try:
            with self._weights.transaction(), torch.inference_mode(mode=False), torch.enable_grad():
                self._edit(edits)
        except NonFiniteEdit as error:
            requested = "; ".join(f"{edit.text!r} -> {edit.target_new!r}" for edit in edits)
            raise NonFiniteEdit(f"{self.name}: {error}, at the edit {requested}; the weights are as before") from None

    def state(self) -> dict[str, Tensor]:
        """Everything that differs from the base: `weight:<parameter>` and `memory:<name>`."""
        return self._weights.state() | {MEMORY + name: value for name, value in self._memory().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state, bit-exact; `{}` is the base.

        Raises:
            StateMismatch: A name, shape or dtype does not fit; nothing is changed.
        """
        unknown = [name for name in state if not name.startswith((PREFIX, MEMORY))]
        if unknown:
            raise StateMismatch(f"the state contains {', '.join(unknown)}; names begin with {PREFIX!r} or {MEMORY!r}")
        memory = {name.removeprefix(MEMORY): value for name, value in state.items() if name.startswith(MEMORY)}
        self._check_memory(memory)
        self._weights.restore({name: value for name, value in state.items() if name.startswith(PREFIX)})
        self._load_memory(memory)
        self._diagnostics = {}

    def undo(self) -> None:
        """Return to the base, bit-exact."""
        self.restore({})

    def release(self) -> None:  # noqa: B027 - most methods keep nothing large
        """Let go of what the next edit can compute again, to the same bits: called where a model is evaluated next.

        What takes long to compute is better loaded again, by `load_prepared`, before that edit.
        """

    def diagnostics(self) -> dict[str, float]:
        """Numbers about the last `apply`, e.g. the last loss, the number of steps, the norm of the update."""
        return dict(self._diagnostics)

    def record(self, name: str, value: Tensor) -> None:
        """Pass an intermediate tensor to the `record` callback, if there is one."""
        if self._sink is not None:
            self._sink(name, value.detach().clone())

    @abstractmethod
    def _edit(self, edits: Sequence[Edit]) -> None:
        """Apply edits as one batch, writing through `self._weights`; one edit, unless the class `takes_batches`."""

    def _prepare(self) -> None:  # noqa: B027 - a method that needs nothing has nothing to do
        """Compute what depends on the unedited model; called on base weights."""

    def _prepared_tensors(self) -> Mapping[str, Tensor]:
        """Tensors that `_prepare` computed, by name."""
        return self._covariances

    def _load_prepared(self, tensors: Mapping[str, Tensor]) -> None:
        """Load what `_prepared_tensors` returned; `_prepare` then does not compute it."""
        self._covariances.add(tensors)

    def _memory(self) -> dict[str, Tensor]:
        """Tensors that the method keeps from edit to edit, other than weights."""
        return {}

    def _check_memory(self, memory: Mapping[str, Tensor]) -> None:
        """Raise StateMismatch unless the memory is one of this method."""
        if memory:
            raise StateMismatch(f"the state contains {', '.join(memory)}, which {self.name} does not keep")

    def _load_memory(self, memory: Mapping[str, Tensor]) -> None:  # noqa: B027 - most methods keep none
        """Load a memory that passed `_check_memory`."""
