"""Editors as the command line names them: a built-in name, or `package.module:Class` from anywhere."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

import editors
from editors import Editor, EditorError
from tests.harness.errors import UsageProblem
from tests.harness.models import LoadedModel
from tests.harness.store import code_digest

HOME = Path(editors.__file__).parent


@dataclass(frozen=True)
class EditorSpec:
    """An editor before it meets a model.

    Attributes:
        name: what ids, markers, thresholds and tables call it.
        target: what `editors.create` takes.
        settings: hyperparameters that differ from the shipped defaults.
    """

    name: str
    target: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def built_in(self) -> bool:
        """Whether it is one of `editors/`."""
        return ":" not in self.target

    def create(self, model: PreTrainedModel, base: LoadedModel, **supplies: object) -> Editor:
        """Return the editor on `model`, with the defaults that are shipped for the base."""
        extra = {"defaults": base.source.hyperparameters} if base.source.hyperparameters else {}
        return editors.create(self.target, model, base.tokenizer, **supplies, **extra, **self.settings)

    def identity(self, base: LoadedModel) -> dict[str, Any]:
        """Return what the method's results depend on besides model and edits: its code and hyperparameters."""
        own = [HOME / f"{self.name}.py", HOME / "defaults" / f"{self.name}.toml"] if self.built_in else []
        files = [HOME / "parts", *(file for file in own if file.is_file())]
        digest = code_digest(*files)
        if not self.built_in:
            digest += code_digest(_source_file(self.target))
        return {
            "target": self.target,
            "code": digest,
            "settings": dict(self.settings),
            "defaults": base.source.hyperparameters,
        }


def built_in() -> list[EditorSpec]:
    """Return all editors of the folder, in alphabetical order."""
    return [EditorSpec(name, name) for name in editors.names()]


def find(wanted: str) -> EditorSpec:
    """Return the editor that `--editor` names.

    Raises:
        UsageProblem: there is none, or its module cannot be imported.
    """
    if wanted in editors.names():
        return EditorSpec(wanted, wanted)
    try:
        editors.kind_of(wanted)
    except EditorError as error:
        raise UsageProblem(f"--editor {wanted!r}: {error}.") from error
    short = re.sub(r"[^a-z0-9_]+", "_", wanted.partition(":")[2].lower())
    return EditorSpec(short, wanted)


def _source_file(target: str) -> Path:
    module = importlib.import_module(target.partition(":")[0])
    return Path(inspect.getfile(module))
