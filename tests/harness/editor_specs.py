"""Editors as the command line names them: a built-in name, or `package.module:Class` from anywhere."""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

import editors
from editors import Editor, EditorError, HyperparameterError
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


def find(wanted: str, settings: Mapping[str, Any] | None = None) -> EditorSpec:
    """Return the editor that `--editor` names, with the hyperparameters of `--editor-arg`.

    Raises:
        UsageProblem: there is none, its module cannot be imported, or it has no such hyperparameter.
    """
    settings = settings or {}
    try:
        editors.check_settings(wanted, settings)
    except HyperparameterError as error:
        raise UsageProblem(f"--editor-arg: {error}.") from error
    except EditorError as error:
        raise UsageProblem(f"--editor {wanted!r}: {error}.") from error
    name = wanted if ":" not in wanted else re.sub(r"[^a-z0-9_]+", "_", wanted.partition(":")[2].lower())
    return EditorSpec(name, wanted, settings)


def parse_settings(given: Sequence[str]) -> dict[str, Any]:
    """Return the values of `--editor-arg key=value`: TOML values, and what is none is a text.

    Raises:
        UsageProblem: one has no `=`, or a name is given twice.
    """
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or name.strip() in found:
            fault = "is given twice" if name.strip() in found else "is not of the form key=value"
            raise UsageProblem(
                f"--editor-arg {text!r} {fault}. Such as --editor-arg v_lr=0.1 --editor-arg layers=[3,4]."
            )
        found[name.strip()] = _value(value.strip())
    return found


def _value(text: str) -> Any:  # noqa: ANN401 - whatever TOML can say
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _source_file(target: str) -> Path:
    module = importlib.import_module(target.partition(":")[0])
    return Path(inspect.getfile(module))
