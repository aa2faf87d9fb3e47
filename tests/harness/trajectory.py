"""One model, one editor, one ordered list of edits: applied one after another, accumulating, resumable.

One accumulated run serves every N: the state after N edits is a checkpoint in the store, with what was measured right
after each edit. A run that was killed continues from its last checkpoint; a larger N continues where a smaller ended.
"""

from __future__ import annotations

import copy
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from editors import Edit, Editor
from editors.parts.locate import LocateEditor
from tests.harness import probes, quality, second_moments
from tests.harness.editor_specs import EditorSpec
from tests.harness.models import LoadedModel
from tests.harness.quality import EditQuality
from tests.harness.store import Store, digest_text

SMALL = 100_000_000  # parameters
HALF_WAY = -1  # the position within an edit
LIBRARIES = ("torch", "transformers", "lm_eval")
Announce = Callable[[str], None]


@contextmanager
def single_threaded(base: LoadedModel) -> Iterator[None]:
    """Inside, torch uses one thread for small models, whose edits gain nothing from more.

    Sums come out differently on another number of threads, a trajectory magnifies that, and `pytest -n 2` must give the
    verdicts of `pytest`.
    """
    before = torch.get_num_threads()
    if base.model.num_parameters() < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass
class Trajectory:
    """The edited model at any checkpoint of its run.

    Attributes:
        spec: the editor, with its hyperparameters.
        base: the unedited model; never touched, the editor works on a copy.
        edits: in order; checkpoint N is the state after the first N.
        counts: the Ns at which a checkpoint is kept, ascending.
        store: where checkpoints lie.
        seed: of whatever the editor draws.
        announce: told what is going on, for people.
    """

    spec: EditorSpec
    base: LoadedModel
    edits: Sequence[Edit]
    counts: Sequence[int]
    store: Store
    seed: int = 0
    announce: Announce = field(default=lambda _: None)
    stepwise: bool = field(default=True, init=False)
    _keys: dict[int, str] = field(default_factory=dict, init=False, repr=False)

    @property
    def name(self) -> str:
        """What ids and tables call it, such as `memit-llama-mini`."""
        return f"{self.spec.name}-{self.base.source.name}"

    def key(self, count: int) -> str:
        """The store's key of the checkpoint after `count` edits: everything that it depends on."""
        if count not in self._keys:
            edits = [edit.to_dict() for edit in self.edits[:count]]
            self._keys[count] = Store.key(**self._conditions, edits=edits, prepared=self._prepared_key)
        return self._keys[count]

    def told(self, count: int) -> str:
        """How a sentence calls it, such as `after 5 edits of llama-mini with memit`."""
        edits = "1 edit" if count == 1 else f"{count} edits"
        return f"after {edits} of {self.base.source.name} with {self.spec.name}"

    def model_at(self, count: int) -> nn.Module:
        """Return the model after exactly the first `count` edits.

        Raises:
            EditorError: the method cannot apply an edit.
        """
        return self.editor_at(count).model

    def editor_at(self, count: int) -> Editor:
        """Return the editor with exactly the first `count` edits in its model, continuing or restoring as needed.

        Raises:
            EditorError: the method cannot apply an edit.
        """
        if count != self._position:
            self._go_to(count)
        return self.editor

    def growth(self, count: int) -> dict[str, float]:
        """Return the norm (Frobenius) of each changed parameter over that of the base's, largest change first."""
        return probes.norm_growth(dict(self.base.model.named_parameters()), self.model_at(count))

    def immediate(self, count: int) -> list[EditQuality]:
        """Return what was measured right after each of the first `count` edits."""
        return [EditQuality.from_json(row) for row in self._record(count)["immediate"]]

    def diagnostics(self, count: int) -> dict[str, float]:
        """Return what the editor told about the first `count` edits, each number's mean over those that told it."""
        told: dict[str, list[float]] = {}
        for row in self._record(count)["immediate"]:
            for name, value in row["diagnostics"].items():
                told.setdefault(name, []).append(value)
        return {name: sum(values) / len(values) for name, values in told.items()}

    def at_end(self, count: int) -> list[EditQuality]:
        """Return efficacy, paraphrase and locality of the first `count` edits, measured after the last of them."""

        def compute() -> list[dict[str, Any]]:
            model = self.editor_at(count).model
            measured = quality.measure(model, self.base.tokenizer, self.edits[:count], self._base_answers)
            return [row.to_json() for row in measured]

        return [EditQuality.from_json(row) for row in self.store.fetch_json("quality", self.key(count), compute)]

    @cached_property
    def editor(self) -> Editor:
        """The editor that runs this trajectory, on its own copy of the base model."""
        return self.fresh_editor()

    def fresh_editor(self) -> Editor:
        """Return a new editor on a new copy of the base model, with nothing applied."""
        return self.fresh_editor_and_model()[0]

    def fresh_editor_and_model(self) -> tuple[Editor, PreTrainedModel]:
        """Return a new editor and the copy of the base model that it was handed."""
        model = copy.deepcopy(self.base.model)
        editor = self._create(model)
        made, contexts = self._prepared
        editor.load_prepared(made, contexts or None)
        return editor, model

    def _create(self, model: PreTrainedModel) -> Editor:
        return self.spec.create(
            model,
            self.base,
            corpus=self._corpus,
            training=self._training,
            scratch=self._scratch,
            seed=self.seed,
        )

    @property
    def _scratch(self) -> Path:
        """Where a training keeps its checkpoints until its result is in the store."""
        return self.store.root / "training" / self._prepared_key[:16]

    @cached_property
    def _prepared(self) -> tuple[dict[str, Tensor], list[list[str]]]:
        """What depends on the pristine model only (covariances, contexts, trained networks): made once for all runs."""
        key = self._prepared_key
        with self.store.lock("preparing", key):
            made = self.store.load_tensors("prepared", key)
            contexts = self.store.load_json("contexts", key)
            if made is None or contexts is None:
                made, contexts = self._prepare()
                self.store.save_tensors("prepared", key, made)
                self.store.save_json("contexts", key, contexts)
                shutil.rmtree(self._scratch, ignore_errors=True)  # checkpoints of a training that is stored now
        return made, contexts

    def _prepare(self) -> tuple[dict[str, Tensor], list[list[str]]]:
        editor = self._create(copy.deepcopy(self.base.model))
        with single_threaded(self.base):
            if isinstance(editor, LocateEditor) and editor.cost():
                conditions = {**self._machine, "corpus": self._corpus_digest}
                second_moments.supply(editor, self.store, conditions, self._tell)
            self._tell(f"preparing the editor ({editor.cost() or 'contexts, or training its network'})")
            return editor.prepared(), [list(group) for group in editor.contexts]

    def _tell(self, text: str) -> None:
        self.announce(f"{self.name}: {text}")

    @cached_property
    def _prepared_key(self) -> str:
        training = [edit.to_dict() for edit in self._training]
        return Store.key(**self._conditions, corpus=self._corpus_digest, training=training)

    @cached_property
    def _training(self) -> Sequence[Edit]:
        """Edits to train on, none of them about a subject that this trajectory edits."""
        subjects = {edit.subject for edit in self.edits[: max(self.counts)]}
        return [edit for edit in self.base.source.training() if edit.subject not in subjects]

    @cached_property
    def _corpus(self) -> Sequence[str]:
        return self.base.source.corpus()

    @cached_property
    def _corpus_digest(self) -> str:
        return digest_text("\n".join(self._corpus))

    @cached_property
    def _conditions(self) -> dict[str, Any]:
        """What every number of this trajectory depends on besides the edits."""
        return {**self._machine, "editor": self.spec.identity(self.base), "seed": self.seed}

    @property
    def _machine(self) -> dict[str, Any]:
        """What every number of the unedited model depends on."""
        parameter = next(self.base.model.parameters())
        return {
            "model": self.base.digest,
            "tokenizer": self.base.tokenizer_digest,
            "dtype": str(parameter.dtype),
            "device": str(parameter.device.type),
            "machine": platform.machine(),
            "versions": {name: version(name) for name in LIBRARIES},
        }

    @cached_property
    def _progress(self) -> dict[str, Any]:
        return {"position": 0, "immediate": []}

    @property
    def _position(self) -> int:
        return int(self._progress["position"])

    def _record(self, count: int) -> dict[str, Any]:
        """Return what the run noted up to this checkpoint; runs it if it never was."""
        found = self.store.load_json("progress", self.key(count))
        if found is not None:
            return dict(found)
        self._go_to(count)
        return {"immediate": self._progress["immediate"]}

    def _go_to(self, count: int) -> None:
        """Go on from the latest state not after `count` that is here or stored, keeping checkpoints on the way."""
        with self.store.lock("trajectory", self.key(0)):
            places = {*self.counts, *self._keys, self._position, count}  # whatever was gone to has its key
            for known in sorted((n for n in places if 0 < n <= count), reverse=True):
                if known == self._position or self._restored(known):
                    break
            else:
                self.editor.undo()
                self._progress.update(position=0, immediate=[])
            while self._position < count:
                self._apply_next(count)

    def _restored(self, count: int) -> bool:
        record = self.store.load_json("progress", self.key(count))
        state = self.store.load_tensors("checkpoint", self.key(count)) if record is not None else None
        if record is None or state is None:
            return False
        self.editor.restore(state)
        self._progress.update(position=count, immediate=record["immediate"])
        return True

    def _apply_next(self, target: int) -> None:
        number = self._position
        edit = self.edits[number]
        if number % 10 == 0:
            self._tell(f"edit {number + 1} of {target}")
        self._progress["position"] = HALF_WAY  # an edit that raises may have changed some of the weights
        with single_threaded(self.base):
            self.editor.apply(edit)
            (measured,) = quality.measure(self.editor.model, self.base.tokenizer, [edit], self._base_answers)
        done = number + 1
        self._progress.update(
            position=done, immediate=[*self._progress["immediate"], measured.to_json() | self._diagnostics()]
        )
        if done in self.counts or done == target:
            self.store.save_tensors("checkpoint", self.key(done), self.editor.state())
            self.store.save_json("progress", self.key(done), {"immediate": self._progress["immediate"]})

    def _diagnostics(self) -> dict[str, Any]:
        return {"diagnostics": {name: float(value) for name, value in self.editor.diagnostics().items()}}

    @cached_property
    def _base_answers(self) -> quality.Answers:
        """The unedited model's own answers to all neighbours' prompts: what locality is measured against."""
        edits = self.edits[: max(self.counts)]
        key = Store.key(**self._conditions, neighbours=[list(edit.neighbors) for edit in edits])
        asked = partial(quality.answers, self.base.model, self.base.tokenizer, edits)
        return dict(self.store.fetch_json("neighbours", key, asked))
