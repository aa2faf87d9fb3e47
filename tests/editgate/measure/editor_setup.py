"""What a method prepares from the unedited model before the first edit: computed once, stored, given to each editor.

Covariances are stored by matrix (`covariances`), the rest (context templates, projections, trained networks) by method
and hyperparameters.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from editgate.cache.environment import conditions
from editgate.cache.store import Store, form_of
from editgate.cache.stored_tensors import StoredTensors
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.unedited_model import UneditedModel
from editgate.measure import remembered
from editgate.measure.threads import single_threaded
from editgate.measure.time_spent import spending
from editors import Edit, Editor
from editors.core import model_copies, placement
from editors.core.errors import UnsupportedModel
from editors.core.typing import PreTrainedModel
from editors.external import hooks


@dataclass
class EditorSetup:
    """One method on one base model, ready to edit.

    Attributes:
        spec: the editor, with its hyperparameters.
        base: the unedited model; never touched.
        training: edits that a method may be trained on.
        store: where what was prepared is kept.
        seed: of whatever the editor draws.
        announce: called with what is going on, for people.
    """

    spec: EditorSpec
    base: UneditedModel
    training: Sequence[Edit]
    store: Store
    seed: int
    announce: Callable[[str], None]

    def editor(self) -> tuple[Editor, PreTrainedModel]:
        """Return a new editor with nothing applied, and the copy of the base model that it was given."""
        model = self.copied_base()
        editor = self.create(model)
        made, contexts = self._prepared
        editor.load_prepared(made, contexts or None)
        self.add_covariances(editor)
        return editor, model

    def supply(self) -> None:
        """Compute the covariances that the method needs, into the store, for other hyperparameters to find.

        Raises:
            EditorError: the method does not take these hyperparameters.
        """
        self.add_covariances(self.create(self.copied_base()))

    @property
    def is_prepared(self) -> bool:
        """Whether the store has what the method prepares; covariances are apart."""
        return self.store.path("prepared", self.key, "json").exists()

    @cached_property
    def key(self) -> str:
        """The store's key of what is prepared: everything that it depends on."""
        training = [edit.to_dict() for edit in self.training]
        return Store.key(**self.conditions, corpus=remembered.corpus_digest(self.base, self.store), training=training)

    @cached_property
    def conditions(self) -> dict[str, Any]:
        """What every edit depends on besides itself and what is prepared."""
        return {**conditions(self.base), "editor": self.spec.identity(self.base), "seed": self.seed}

    def copied_base(self) -> PreTrainedModel:
        """A copy of the base for an editor: ours write through `Weights`, and share the memory of what they leave.

        Raises:
            UnsupportedModel: the method is not ours, and weights of the base are on no device between passes.
        """
        if self.spec.built_in:
            return model_copies.sharing(self.base.model)
        if placement.is_offloaded(self.base.model):
            raise UnsupportedModel(
                f"{self.spec.name} cannot edit a model of which weights are in main memory or on disk: what another "
                "package's method writes there is lost at the next pass. Allowed: a --device that holds all of it."
            )
        with single_threaded(self.base):
            return copy.deepcopy(self.base.model)

    def create(self, model: PreTrainedModel) -> Editor:
        """Return a new editor on `model`, without what was prepared."""
        with single_threaded(self.base):
            return self.spec.create(
                model,
                self.base,
                corpus=self._corpus,
                covariances=self._named_covariances,
                training=self.training,
                scratch=self._scratch,
                seed=self.seed,
            )

    @cached_property
    def _prepared(self) -> tuple[Mapping[str, Tensor], list[list[str]]]:
        """Tensors that depend on the unedited model only, by name, and the contexts; without covariances."""
        with self.store.lock("preparing", self.key):
            names = self.store.load_json("prepared", self.key, form_of(list[str]))
            contexts = self.store.load_json("contexts", self.key, form_of(list[list[str]]))
            if names is None or contexts is None or self._stored(names).missing():
                with spending("preparing methods"), self.store.scratch():
                    names, contexts = self._make()
                self.store.save_json("contexts", self.key, contexts)
                self.store.save_json("prepared", self.key, names)
                shutil.rmtree(self._scratch, ignore_errors=True)  # its checkpoints: the result is stored now
        return self._stored(names).beside(self.base.model), contexts

    def _stored(self, names: Sequence[str]) -> StoredTensors:
        keys = {name: Store.key(prepared=self.key, tensor=name) for name in names}
        return StoredTensors(self.store, "prepared", keys)

    def _make(self) -> tuple[list[str], list[list[str]]]:
        """Store what an editor prepares, one tensor at a time; return their names, and the contexts."""
        editor = self.create(self.copied_base())
        supplied = self.add_covariances(editor)
        with single_threaded(self.base):
            self.announce(f"preparing the editor ({editor.cost() or 'contexts, or training its network'})")
            made = editor.each_prepared()
            names = [name for name in made if name not in supplied]
            stored = self._stored(names)
            for name in names:
                stored.save(name, made[name])
            return names, [list(group) for group in editor.contexts]

    def add_covariances(self, editor: Editor) -> set[str]:
        """Give the editor the covariances that it is missing, if any; return the paths of their matrices."""
        from editgate.measure import covariances  # noqa: PLC0415 - see `importing`
        from editors.locate.base import LocateEditor  # noqa: PLC0415 - as above

        if not isinstance(editor, LocateEditor) or not editor.missing:
            return set()
        supplied = {matrix.path for matrix in editor.missing}
        covariances.supply(editor, self.base, self.store, self.announce)
        return supplied

    @cached_property
    def _named_covariances(self) -> dict[str, Tensor]:
        """The covariances that somebody else's method asks for by the paths of their matrices."""
        paths = () if self.spec.built_in else hooks.covariance_paths(self.spec.target, self.spec.settings)
        if not paths:
            return {}
        from editgate.measure import covariances  # noqa: PLC0415 - as above
        from editors.models.architecture import Architecture  # noqa: PLC0415 - as above

        architecture = Architecture(self.base.model)
        matrices = [architecture.named("covariance_paths", f"{path}.weight")[0] for path in paths]
        return dict(covariances.covariances_of(architecture, matrices, self.base, self.store, self.announce))

    @property
    def _scratch(self) -> Path:
        """Where what is being prepared keeps what it has made, until all of it is in the store."""
        return self.store.root / "training" / self.key[:16]

    @cached_property
    def _corpus(self) -> Sequence[str]:
        return self.base.source.corpus()
