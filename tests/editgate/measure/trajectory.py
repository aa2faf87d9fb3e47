"""One model, one editor, one ordered list of edits: applied one after another, accumulating, resumable.

One accumulated run serves every N: the state after N edits is a checkpoint in the store, with what was measured right
after each edit. A run that was killed continues from its last checkpoint; a larger N continues where a smaller ended.

In batches of B the first N edits are cut from the start on, and the last batch may be smaller: after 25 edits in
batches of 10 the model has had 10, 10 and 5. No run of more edits comes by that state, since there the third batch has
10. So it is a branch: it begins at the last whole batch, and nothing goes on from its end. What is otherwise measured
right after each edit is then measured after each batch, for its edits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from torch import Tensor, nn

from editgate.cache import fingerprint, weight_differences
from editgate.cache.store import Store, form_of
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.unedited_model import UneditedModel
from editgate.measure import edit_quality, weight_changes
from editgate.measure.edit_quality import EditQuality
from editgate.measure.editor_setup import EditorSetup
from editgate.measure.threads import single_threaded
from editgate.measure.time_spent import spending
from editors import Edit, Editor
from editors.core import placement
from editors.core.progress import tell, unheard
from editors.core.typing import PreTrainedModel

HALF_WAY = -1  # the position within an edit
Announce = Callable[[str], None]


@dataclass
class Trajectory:
    """The edited model at any checkpoint of its run.

    Attributes:
        spec: the editor, with its hyperparameters.
        base: the unedited model; never touched, the editor works on a copy.
        edits: in order; checkpoint N is the state after the first N.
        counts: the Ns at which a checkpoint is kept, ascending.
        store: where checkpoints are kept.
        seed: of whatever the editor draws.
        announce: called with what is going on, for people.
        made: digests of the models that the steps of the rules of integrity make, by these steps.
    """

    spec: EditorSpec
    base: UneditedModel
    edits: Sequence[Edit]
    counts: Sequence[int]
    store: Store
    seed: int = 0
    announce: Announce = field(default=lambda _: None)
    measured_per_edit: bool = field(default=True, init=False)
    made: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _keys: dict[int, str] = field(default_factory=dict, init=False, repr=False)

    @property
    def name(self) -> str:
        """What ids and tables call it, such as `memit-llama-mini`; in batches of 100 `memit-b100-llama-mini`."""
        return f"{self.spec.label}-{self.base.source.name}"

    def key(self, count: int) -> str:
        """Return the store's key of the checkpoint after `count` edits: everything that it depends on.

        Of the size of batches it is how these edits are cut: 5 edits are one batch of 5, whether 10 or 100 would fit.
        """
        if count not in self._keys:
            edits = [edit.to_dict() for edit in self.edits[:count]]
            sizes = [len(batch) for batch in self.batches(count)]
            cut: dict[str, Any] = {"batches": sizes} if len(sizes) < len(edits) else {}
            self._keys[count] = Store.key(**self._measured, edits=edits, prepared=self.setup.key, **cut)
        return self._keys[count]

    def batches(self, count: int) -> list[Sequence[Edit]]:
        """Return the first `count` edits, cut as they are applied."""
        size = self.spec.batch_size
        return [self.edits[start : min(start + size, count)] for start in range(0, count, size)]

    def described(self, count: int) -> str:
        """How a sentence calls it, such as `after 5 edits of llama-mini with memit`."""
        edits = "1 edit" if count == 1 else f"{count} edits"
        cut = "" if self.spec.batch_size == 1 else f" (batches of {self.spec.batch_size})"
        return f"after {edits}{cut} of {self.base.source.name} with {self.spec.name}"

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

    def norm_ratio(self, count: int) -> dict[str, float]:
        """Return the norm (Frobenius) of each changed parameter over that of the base's, largest change first."""
        return weight_changes.norm_ratios(placement.values(self.base.model), self.model_at(count))

    def immediate(self, count: int) -> list[EditQuality]:
        """Return what was measured right after each of the first `count` edits, or after the batch that it was in."""
        return [EditQuality.from_json(row) for row in self._record(count)["immediate"]]

    def diagnostics(self, count: int) -> dict[str, float]:
        """Return the editor's diagnostics: each number's mean over those of the first `count` edits that have it.

        Those of a batch are noted at its last edit.
        """
        numbers: dict[str, list[float]] = {}
        for row in self._record(count)["immediate"]:
            for name, value in row["diagnostics"].items():
                numbers.setdefault(name, []).append(value)
        return {name: sum(values) / len(values) for name, values in numbers.items()}

    def final(self, count: int) -> list[EditQuality]:
        """Return efficacy, paraphrase and locality of the first `count` edits, measured after the last of them."""

        def compute() -> list[dict[str, Any]]:
            model = self.editor_at(count).model
            with spending("asking about edits"):
                measured = edit_quality.measure(model, self.base.tokenizer, self.edits[:count], self._base_answers)
            return [row.to_json() for row in measured]

        found = self.store.fetch_json("quality", self.key(count), compute, edit_quality.FORM)
        return [EditQuality.from_json(row) for row in found]

    @cached_property
    def editor(self) -> Editor:
        """The editor that runs this trajectory, on its own copy of the base model."""
        return self.fresh_editor()

    def fresh_editor(self) -> Editor:
        """Return a new editor on a new copy of the base model, with nothing applied."""
        return self.fresh_editor_and_model()[0]

    def fresh_editor_and_model(self) -> tuple[Editor, PreTrainedModel]:
        """Return a new editor and the copy of the base model that it was given."""
        return self.setup.editor()

    @cached_property
    def setup(self) -> EditorSetup:
        """What the method prepares before the first edit; it is trained on no subject that this trajectory edits."""
        edits = self.edits[: max(self.counts)]
        subjects = {edit.subject for edit in edits} - {None}
        nameless = [edit for edit in edits if edit.subject is None]
        training = [
            taught
            for taught in self.base.source.training()
            if taught.subject not in subjects
            and not any(taught.shares_subject(edit) for edit in (nameless if taught.subject else edits))
        ]
        announce = partial(_announce, self.announce, self.name)  # a bound method would be a cycle, which keeps a model
        return EditorSetup(self.spec, self.base, training, self.store, self.seed, announce)

    @cached_property
    def _measured(self) -> dict[str, Any]:
        """What every number of this trajectory depends on besides the edits."""
        return self.setup.conditions | {"code": fingerprint.code_of(*fingerprint.MEASURE)}

    @cached_property
    def _progress(self) -> dict[str, Any]:
        return {"position": 0, "immediate": []}

    @property
    def _position(self) -> int:
        return int(self._progress["position"])

    def _record(self, count: int) -> dict[str, Any]:
        """Return the run's record up to this checkpoint; apply the edits if that was never done."""
        found = self.store.load_json("progress", self.key(count), _check_record)
        if found is not None:
            return dict(found)
        self._go_to(count)
        return {"immediate": self._progress["immediate"]}

    def _go_to(self, count: int) -> None:
        """Go on from the latest state up to `count` that is in memory or stored, storing checkpoints on the way."""
        with self.store.lock("trajectory", self._lock):
            for known in self._ways_to(count):
                if known == self._position or self._restored(known):
                    break
            else:
                self.editor.undo()
                self._progress.update(position=0, immediate=[])
            if self._position < count:
                self.setup.add_covariances(self.editor)  # which it let go of at the last checkpoint
                _announce(self.announce, self.name, f"edits up to {count}")
                tell("edit", self._position, count)
            while self._position < count:
                self._apply_next(count)
        self.editor.release()

    @cached_property
    def _lock(self) -> str:
        """What no two processes do at once."""
        size = self.spec.batch_size
        return self.key(0) if size == 1 else Store.key(trajectory=self.key(0), batch_size=size)

    def stored_up_to(self, count: int) -> int:
        """Return how many of the first `count` edits need not be applied again: a checkpoint is in the store."""
        stored = (n for n in self._ways_to(count) if self.store.path("progress", self.key(n), "json").exists())
        return next(stored, 0)

    def _ways_to(self, count: int) -> list[int]:
        """Return the Ns that lie on the way to `count`, the latest first: itself, and where a whole batch ends."""
        visited = {*self.counts, *self._keys, self._position, count}  # each checkpoint visited has its key
        whole = {n - n % self.spec.batch_size for n in visited}
        return sorted((n for n in {*whole, count} if 0 < n <= count), reverse=True)

    def _restored(self, count: int) -> bool:
        record = self.store.load_json("progress", self.key(count), _check_record)
        unpack = partial(weight_differences.unpack, base=self._base_weights)
        state = self.store.load_tensors("checkpoint", self.key(count), unpack) if record is not None else None
        if record is None or state is None:
            return False
        self.editor.restore(state)
        self._progress.update(position=count, immediate=record["immediate"])
        return True

    def _apply_next(self, target: int) -> None:
        """Apply the next batch, and keep what may be gone back to: a checkpoint, or where the last batch begins."""
        start, size = self._position, self.spec.batch_size
        batch = self.edits[start : min(start + size, target)]
        done = start + len(batch)
        self._progress["position"] = HALF_WAY  # an edit that raises may have changed some of the weights
        with spending("editing"), single_threaded(self.base), unheard():
            if len(batch) == 1:
                self.editor.apply(batch[0])
            else:
                self.editor.apply_many(batch)
            with spending("asking about edits"):
                measured = edit_quality.measure(self.editor.model, self.base.tokenizer, batch, self._base_answers)
        rows = [each.to_json() | {"diagnostics": {}} for each in measured]
        rows[-1] |= self._diagnostics()
        self._progress.update(position=done, immediate=[*self._progress["immediate"], *rows])
        if done in self.counts or target - done < size:
            state = weight_differences.pack(self.editor.state(), self._base_weights)
            self.store.save_tensors("checkpoint", self.key(done), state)
            self.store.save_json("progress", self.key(done), {"immediate": self._progress["immediate"]})
        tell("edit", done, target)

    @property
    def _base_weights(self) -> Mapping[str, Tensor]:
        return placement.values(self.base.model, remove_duplicate=False)

    def _diagnostics(self) -> dict[str, Any]:
        return {"diagnostics": {name: float(value) for name, value in self.editor.diagnostics().items()}}

    @cached_property
    def _base_answers(self) -> edit_quality.Answers:
        """The unedited model's own answers to all neighbors' prompts: what locality is measured against."""
        edits = self.edits[: max(self.counts)]
        key = Store.key(**self._measured, neighbors=[list(edit.neighbors) for edit in edits])
        compute = partial(edit_quality.answers, self.base.model, self.base.tokenizer, edits)
        return dict(self.store.fetch_json("neighbors", key, compute, form_of(dict[str, str])))


def _check_record(found: dict[str, Any]) -> None:
    """The form of what is stored beside a checkpoint."""
    edit_quality.FORM(found["immediate"])
    form_of(list[dict[str, float]])([row["diagnostics"] for row in found["immediate"]])


def _announce(announce: Announce, name: str, text: str) -> None:
    announce(f"{name}: {text}")
