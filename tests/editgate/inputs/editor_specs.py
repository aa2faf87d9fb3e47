"""Editors as the command line names them: built in, registered by an installed package, or `package.module:Class`."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import editors
from editgate.cache.digest import code_digest, digest_files
from editgate.errors import ConfigError
from editgate.inputs.files.user_files import is_dir, is_file
from editgate.inputs.files.validation import brief
from editgate.inputs.unedited_model import UneditedModel
from editors import EditorError, HyperparameterError
from editors.core.hyperparameters import defaults
from editors.core.registry import SHARED_PACKAGES, code_paths, package_of, target_of
from editors.core.typing import PreTrainedModel
from editors.external import hooks
from editors.external.easyedit import PREFIX as EASYEDIT

if TYPE_CHECKING:
    from editors import Editor

HOME = Path(editors.__file__).parent
# Markers with a meaning of their own, and words of `-m`: an editor of that name would skip itself, or every test.
RESERVED = frozenset(
    "capability safety quality curve integrity skip skipif xfail parametrize usefixtures filterwarnings tryfirst "
    "trylast benchmark hypothesis xdist_group and or not true false none".split()
)


@dataclass(frozen=True)
class EditorSpec:
    """An editor before it meets a model.

    Attributes:
        name: used in ids, markers, thresholds and tables.
        target: what `editors.create` takes.
        settings: hyperparameters that differ from the shipped defaults.
        batch_size: how many edits are applied at once.
    """

    name: str
    target: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 1

    @property
    def rule_size(self) -> int:
        """How many edits a rule of integrity applies at once: one, or in a run of batches two."""
        return min(self.batch_size, 2)

    @property
    def label(self) -> str:
        """What ids and tables call it: its name, and the size of batches, such as `memit-b100`."""
        return self.name if self.batch_size == 1 else f"{self.name}-b{self.batch_size}"

    @property
    def built_in(self) -> bool:
        """Whether it is one of `editors/`."""
        return ":" not in self.target

    @property
    def checks_models(self) -> bool:
        """Whether it is somebody else's and tells without weights that a model does not suit it."""
        return not self.built_in and hooks.has("check_model", self.target)

    @property
    def external(self) -> bool:
        """Whether it stands for a model that was changed elsewhere, and applies no edits."""
        return False

    def create(self, model: PreTrainedModel, base: UneditedModel, **resources: object) -> Editor:
        """Return the editor on `model`, with the defaults that are shipped for the base."""
        extra = {"defaults": base.source.hyperparameters} if base.source.hyperparameters else {}
        return editors.create(self.target, model, base.tokenizer, **resources, **extra, **self.settings)

    def identity(self, base: UneditedModel) -> dict[str, Any]:
        """Return what the method's results depend on besides model and edits: its code and hyperparameters.

        Of somebody else's method that is every file of its whole package, and of each file that a hyperparameter names,
        or that it names itself.
        """
        files = [HOME / room for room in SHARED_PACKAGES] + (code_paths(self.name) if self.built_in else [])
        found = {
            "target": self.target,
            "code": code_digest(*files),
            "settings": dict(self.settings),
            "defaults": defaults(self.name, base.source.hyperparameters) if self.built_in else None,
        }
        if not self.built_in:
            named = {name: Path(value) for name, value in self.settings.items() if isinstance(value, str)}
            named.update(hooks.files(self.target, self.settings))
            found["package"] = _digest_of_package(package_of(self.target))
            found["files"] = {name: digest_files(path) for name, path in named.items() if is_file(path) or is_dir(path)}
        return found


def built_in() -> list[EditorSpec]:
    """Return all editors of the folder, in alphabetical order."""
    return [EditorSpec(name, name) for name in editors.names()]


def find(wanted: str, settings: Mapping[str, Any] | None = None) -> EditorSpec:
    """Return the editor that `--editor` names, with the hyperparameters of `--editor-arg`.

    Raises:
        ConfigError: there is none, its module cannot be imported, or it has no such hyperparameter.
    """
    settings = settings or {}
    try:
        editors.check_settings(wanted, settings)
    except HyperparameterError as error:
        raise ConfigError(f"--editor-arg: {error}.") from error
    except EditorError as error:
        raise ConfigError(f"--editor {wanted!r}: {error}.") from error
    target = target_of(wanted)
    return EditorSpec(wanted if target == wanted and ":" not in wanted else _name(wanted), target, settings)


def _name(wanted: str) -> str:
    """Return an id and marker: of the class or entry point, with its module where that has another meaning."""
    module, _, last = wanted.rpartition(":")
    name = _plain(last)
    taken = {*editors.names(), *RESERVED}
    if module and (module == EASYEDIT or name in taken or not name[:1].isalpha()):
        name = _plain(f"{module}_{last}")
    if name in taken or not name[:1].isalpha():
        raise ConfigError(f"--editor {wanted!r}: {name!r} cannot be its marker (pytest -m); rename the entry point.")
    return name


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "_", text.lower()).strip("_")


def parse_settings(given: Sequence[str]) -> dict[str, Any]:
    """Return the values of `--editor-arg key=value`: TOML values, and anything else is a string.

    Raises:
        ConfigError: one has no `=`, or a name is given twice.
    """
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or name.strip() in found:
            fault = "is given twice" if name.strip() in found else "is not of the form key=value"
            raise ConfigError(
                f"--editor-arg {text!r} {fault}. Such as --editor-arg v_lr=0.1 --editor-arg layers=[3,4]."
            )
        try:
            found[name.strip()] = _value(value.strip())
        except ValueError as error:
            raise ConfigError(
                f"--editor-arg {brief(text)}: {error}. Such as --editor-arg layers=[3,4] or name='a text'."
            ) from error
    return found


def _value(text: str) -> Any:  # noqa: ANN401 - whatever TOML can say
    """Read one value, in an inline table: what stands after it, a comment or a second key, makes it a text.

    Raises:
        ValueError: it begins like a TOML list, table or quoted text and is none, or is beyond what Python reads.
    """
    begins = text.startswith(("[", "{", '"', "'"))
    try:
        tables = tomllib.loads(f"value = {{ value = {text} }}")
        json.dumps(tables)  # a date is a text here: settings are written into the store
    except RecursionError:
        raise ValueError("the value is nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        if begins:
            raise ValueError(f"the value is not TOML ({error})") from error
        return text
    except TypeError:
        if begins:
            raise ValueError("dates are not allowed in lists and tables; put them in quotes") from None
        return text
    except ValueError:
        raise ValueError("the value has thousands of digits") from None
    alone = set(tables) == {"value"} and set(tables["value"]) == {"value"}
    return tables["value"]["value"] if alone else text


@cache
def _digest_of_package(package: str) -> str:
    """A sha256 of all files of an importable package, or of the one file of a module."""
    module = importlib.import_module(package)
    places = [Path(place) for place in getattr(module, "__path__", [])] or [Path(str(module.__file__))]
    return hashlib.sha256("".join(digest_files(place) for place in places).encode()).hexdigest()
