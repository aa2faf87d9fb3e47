"""A model that was edited elsewhere, compared with its base: `--edited DIR`.

No edits are applied here, so there is one checkpoint: the base is N = 0, the changed model is N = the number of
edits that `--edits` lists, or 1 if none are listed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from editgate.cache import fingerprint
from editgate.cache.digest import digest_tensors
from editgate.cache.environment import conditions
from editgate.cache.store import Store
from editgate.errors import ConfigError
from editgate.inputs import models
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import LoadedModel, ModelSource
from editgate.measure import edit_quality, weight_changes
from editgate.measure.edit_quality import EditQuality
from editors import Edit

MUST_AGREE = ("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "n_embd", "n_layer")
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True)
class ExternalCheckpointSpec(EditorSpec):
    """The edited model in `folder`, in an editor's stead."""

    folder: Path = Path()

    @property
    def external(self) -> bool:
        """It is one."""
        return True


def find(folder: Path, base: ModelSource, taken: Sequence[str]) -> ExternalCheckpointSpec:
    """Return the changed model that `--edited` names, without loading it.

    Args:
        folder: its directory.
        base: what it was made from.
        taken: names of editors that it must not be mistaken for.

    Raises:
        ConfigError: it is not a model's directory, or cannot have been made from the base.
    """
    config = _config(folder)
    if not any(file for pattern in WEIGHTS for file in folder.glob(pattern)):
        way = "merge the adapter into its base first" if (folder / "adapter_config.json").is_file() else "save it there"
        raise ConfigError(f"--edited {folder}: no weights ({' or '.join(WEIGHTS)}); {way}.")
    known = Path(base.location) / "config.json"
    wanted = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else config
    for name in MUST_AGREE:
        if config.get(name) != wanted.get(name):
            raise ConfigError(
                f"--edited {folder}: its {name} is {config.get(name)!r}, that of --model {base.name} is "
                f"{wanted.get(name)!r}. It must be made from --model, or give its own base."
            )
    name = re.sub(r"[^a-z0-9_]+", "_", folder.resolve().name.lower()).strip("_") or "edited"
    return ExternalCheckpointSpec(
        f"{name}_edited" if name in taken or name == base.name else name, f"edited:{folder}", folder=folder.resolve()
    )


def _config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--edited {folder}: {file.name} cannot be read ({error}). Allowed: a model's directory."
        ) from error
    return found


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
    base: LoadedModel
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
        self.announce(f"loading {self.spec.folder.name}")
        parameter = next(self.base.model.parameters())
        dtype = next(name for name, kind in models.DTYPES.items() if kind == parameter.dtype)
        folder = str(self.spec.folder)
        model = models.load_weights("--edited", folder, device=str(parameter.device), dtype=dtype)
        return replace(self.base, model=model, digest=digest_tensors(dict(model.named_parameters())))

    @cached_property
    def before(self) -> dict[str, Tensor]:
        """The base's tensors, a tied one under each of its names: the changed model may have untied it."""
        return dict(weight_changes.tensors(self.base.model))

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

        return [EditQuality.from_json(row) for row in self.store.fetch_json("quality", self.key(count), compute)]

    def diagnostics(self, count: int) -> dict[str, float]:
        """Return |ΔW| / |W| (Frobenius) of what changed, by block, and by name for what is in no block."""
        return self._moved if count else {}

    @cached_property
    def _moved(self) -> dict[str, float]:
        moved: dict[str, tuple[float, float]] = {}
        for name, share in weight_changes.relative_changes(self.before, self.patched.model).items():
            block = re.search(r"\.(\d+)\.", name)
            part = f"layer {block[1]}" if block else name
            size = float(self.before[name].double().norm())
            delta, whole = moved.get(part, (0.0, 0.0))
            moved[part] = (delta + (share * size) ** 2, whole + size**2)
        return {part: (delta / whole) ** 0.5 for part, (delta, whole) in moved.items()}
