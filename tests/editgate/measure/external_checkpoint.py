"""A model that was edited elsewhere, compared with its base: `--edited DIR`.

No edits are applied here, so there is one checkpoint: the base is N = 0, the changed model is N = the number of
edits that `--edits` lists, or 1 if none are listed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editgate.cache import fingerprint
from editgate.cache.digest import digest_tensors
from editgate.cache.environment import conditions
from editgate.cache.store import Store
from editgate.errors import ConfigError
from editgate.inputs import model_loading, models
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.files import model_files
from editgate.inputs.files.user_files import is_file
from editgate.inputs.models import STORE, ModelSource
from editgate.inputs.other_forms import adapter, gguf
from editgate.inputs.unedited_model import LoadedModel, UneditedModel
from editgate.measure import edit_quality
from editgate.measure.edit_quality import EditQuality
from editors import Edit
from editors.core import placement
from editors.core.typing import PreTrainedModel

if TYPE_CHECKING:
    from torch import Tensor, nn

MUST_AGREE = ("model_type", "hidden_size", "num_hidden_layers", "n_embd", "n_layer")
ROUNDED = ("bfloat16", "float16")  # types that a model is saved in without an edit


@dataclass(frozen=True)
class ExternalCheckpointSpec(EditorSpec):
    """The edited model in `folder`, in an editor's stead; `given` is what `--edited` names, which it may be made of.

    `notes` are lines for people: what differs from the base without making it another model.
    """

    folder: Path = Path()
    given: Path = Path()
    notes: tuple[str, ...] = ()

    @property
    def external(self) -> bool:
        """It is one."""
        return True


def find(given: Path, base: ModelSource, taken: Sequence[str], store: Path = STORE) -> ExternalCheckpointSpec:
    """Return the changed model that `--edited` names, without loading it.

    Args:
        given: its directory, its GGUF file, or the directory of an adapter to the base.
        base: what it was made from.
        taken: names of editors that it must not be mistaken for.
        store: where a model that is no directory yet is made into one.

    Raises:
        ConfigError: it is not a whole model's directory, or cannot have been made from the base.
    """
    models.unpack(base)
    folder = _as_directory(given, base, store)
    config = model_files.check("--edited", folder)
    known = Path(base.location)
    wanted = model_files.read_config("--model", known) if known.is_dir() else config
    for name in MUST_AGREE:
        if config.get(name) != wanted.get(name):
            raise ConfigError(
                f"--edited {given}: its {name} is {config.get(name)!r}, that of --model {base.name} is "
                f"{wanted.get(name)!r}. It must be made from --model, or give its own base."
            )
    model_loading.check("--edited", folder, tokenizer=False)
    notes = _of_rows(given, config.get("vocab_size"), wanted.get("vocab_size"), base)
    if has_tokenizer(folder):
        own_words = model_loading.load_tokenizer("--edited", str(folder)).get_vocab()
        words = model_loading.load_tokenizer("--model", base.location).get_vocab() if known.is_dir() else own_words
        if more := sorted(own_words.keys() - words.keys()):
            notes += (f"{given.name} has {len(more)} more tokens, first {more[0]!r}: no question is put with them",)
    own = given.resolve()
    name = re.sub(r"[^a-z0-9_]+", "_", (own.stem if is_file(own) else own.name).lower()).strip("_") or "edited"
    if name in taken or name == base.name:
        name = f"{name}_edited"
    return ExternalCheckpointSpec(name, f"edited:{given}", folder=folder.resolve(), given=given, notes=notes)


def _of_rows(given: Path, own: object, bases: object, base: ModelSource) -> tuple[str, ...]:
    """A longer vocabulary (added tokens, padded rows) is noted; one that lacks tokens of the base's is refused."""
    if own == bases or not isinstance(own, int) or not isinstance(bases, int):
        return ()
    words = model_loading.load_tokenizer("--model", base.location).get_vocab().values()
    if max(words) >= own:
        raise ConfigError(
            f"--edited {given}: its vocab_size is {own}, but the tokenizer of --model {base.name} has tokens up to "
            f"{max(words)}. It must be made from --model, or give its own base."
        )
    shared = f"the first {min(own, bases)} are judged, which hold all tokens of the questions"
    return (f"{given.name} has {own} rows for tokens, {base.name} has {bases}: {shared}",)


def _as_directory(given: Path, base: ModelSource, store: Path) -> Path:
    """The directory of the changed model; one is made of a GGUF file and of an adapter."""
    if gguf.is_gguf(given):
        folder = gguf.folder_of("--edited", given.resolve(), store.resolve())
        gguf.convert("--edited", given.resolve(), folder)
        return folder
    if adapter.is_adapter(given):
        merged = adapter.folder_of("--edited", given, base.location, base.name, store.resolve())
        adapter.merge("--edited", given, base.location, merged)
        return merged
    return given


def has_tokenizer(folder: Path) -> bool:
    """Return whether the changed model brings a tokenizer; without one it is asked with the base's."""
    return any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))


@dataclass
class ExternalCheckpoint:
    """The changed model and its base.

    Attributes:
        spec: where it is.
        base: the unedited model.
        edits: the edits that were requested, as far as they are known; may be empty.
        store: where answers are kept.
        announce: called with what is going on, for people.
    """

    spec: ExternalCheckpointSpec
    base: UneditedModel
    edits: Sequence[Edit]
    store: Store
    announce: Callable[[str], None] = field(default=lambda _: None)
    measured_per_edit: bool = field(default=False, init=False)

    @property
    def name(self) -> str:
        """What ids and tables call it."""
        return f"{self.spec.name}-{self.base.source.name}"

    def described(self, count: int) -> str:  # noqa: ARG002 - one signature with trajectories
        """Return how a sentence calls it."""
        return f"of {self.spec.name}, a changed {self.base.source.name},"

    @cached_property
    def patched(self) -> LoadedModel:
        """The changed model, loaded as the base was."""
        self.announce(f"loading {self.spec.given.name}")
        if placement.is_offloaded(self.base.model) or len(placement.devices(self.base.model)) > 1:
            raise ConfigError(
                f"--edited {str(self.spec.given)!r} is loaded where its base is, and --device auto has spread that. "
                "Allowed: a --device that holds the whole model."
            )
        parameter = next(self.base.model.parameters())
        dtype = str(parameter.dtype).removeprefix("torch.")
        folder = str(self.spec.folder)
        model = model_loading.load_weights("--edited", folder, device=str(parameter.device), dtype=dtype)
        if self._rows(model) > self._rows(self.base.model):
            model.resize_token_embeddings(self._rows(self.base.model))
            model.requires_grad_(requires_grad=False)
        digest = digest_tensors(dict(model.named_parameters()))
        return LoadedModel(self.base.source, model, self.base.tokenizer, digest, self.base.identity["tokenizer"])

    @cached_property
    def before(self) -> dict[str, Tensor]:
        """The base's tensors, a tied one under each of its names: the changed model may have untied it.

        Of the rows for tokens those that both models have; the changed model's are cut when it is loaded.
        """
        from editgate.measure import weight_changes  # noqa: PLC0415 - it imports torch, which `find` does not need

        rows, shared = self._rows(self.base.model), self._rows(self.patched.model)
        found = dict(weight_changes.tensors(self.base.model))
        if shared < rows:
            found |= {name: tensor[:shared] for name, tensor in found.items() if tensor.shape[:1] == (rows,)}
        return found

    def _rows(self, model: PreTrainedModel) -> int:
        embedding: Any = model.get_input_embeddings()
        return int(embedding.weight.shape[0])

    @cached_property
    def rounded_to(self) -> str:
        """The type that the changed model is the base in, if nothing else was done to it; else empty."""
        import torch  # noqa: PLC0415 - as in `before`

        from editgate.measure import weight_changes  # noqa: PLC0415 - as in `before`

        now = dict(weight_changes.tensors(self.patched.model))
        changed = weight_changes.changed_parameters(self.before, self.patched.model)
        for name in ROUNDED if changed else ():
            dtype = getattr(torch, name)
            if all(torch.equal(now[each], self.before[each].to(dtype).to(now[each])) for each in changed):
                return name
        return ""

    def key(self, count: int) -> str:
        """Return the store's key: both models, what they are asked with, and the edits asked about."""
        return Store.key(
            base=conditions(self.base),
            model=conditions(self.patched if count else self.base),
            edits=[edit.to_dict() for edit in self.edits[:count]],
            code=fingerprint.code_of(*fingerprint.MEASURE),
        )

    def model_at(self, count: int) -> nn.Module:
        """Return the base for 0, else the changed model."""
        return self.patched.model if count else self.base.model

    def norm_ratio(self, count: int) -> dict[str, float]:
        """Return the norm of each changed parameter over that of the base's, largest change first."""
        from editgate.measure import weight_changes  # noqa: PLC0415 - as in `before`

        return weight_changes.norm_ratios(self.before, self.model_at(count))

    def immediate(self, count: int) -> list[EditQuality]:
        """Return what is measured at the end: the model right after each edit is not known."""
        return self.final(count)

    def final(self, count: int) -> list[EditQuality]:
        """Return efficacy, paraphrase and locality of the listed edits."""
        edits = self.edits[:count]

        def compute() -> list[dict[str, Any]]:
            before = edit_quality.answers(self.base.model, self.base.tokenizer, edits)
            found = edit_quality.measure(self.model_at(count), self.base.tokenizer, edits, before)
            return [row.to_json() for row in found]

        found = self.store.fetch_json("quality", self.key(count), compute, edit_quality.FORM)
        return [EditQuality.from_json(row) for row in found]

    def diagnostics(self, count: int) -> dict[str, float]:
        """Return |ΔW| / |W| (Frobenius) of what changed, by block, and by name for what is in no block."""
        if not count:
            return {}
        if self._moved and self.rounded_to:
            return {f"no edit: rounded to {self.rounded_to}": max(self._moved.values())}
        return self._moved

    @cached_property
    def _moved(self) -> dict[str, float]:
        from editgate.measure import weight_changes  # noqa: PLC0415 - as in `before`

        moved: dict[str, tuple[float, float]] = {}
        for name, share in weight_changes.relative_changes(self.before, self.patched.model).items():
            block = re.search(r"\.(\d+)\.", name)
            part = f"layer {block[1]}" if block else name
            size = float(self.before[name].double().norm())
            delta, whole = moved.get(part, (0.0, 0.0))
            moved[part] = (delta + (share * size) ** 2, whole + size**2)
        return {part: (delta / whole) ** 0.5 for part, (delta, whole) in moved.items()}
