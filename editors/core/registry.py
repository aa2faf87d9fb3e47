"""Editors by name: built-in ones are the modules of this package, external ones are imported.

Names are read off the folder: no editor, and so neither torch nor transformers, is imported before one is asked for.
An installed package can register an editor under a name, with an entry point in the group `editgate.editors`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from functools import reduce
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editors.core.declared import declared_flag, declared_names, imported_modules
from editors.core.errors import EditorNotFound, ForeignFailure
from editors.core.hyperparameters import build, known_names, model_key
from editors.core.resources import EditorResources
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.external import easyedit
from editors.external.calls import check_shape, external_call

if TYPE_CHECKING:
    from editors.core.editor import Editor, Kind

FOLDER = Path(__file__).resolve().parent.parent
SHARED_PACKAGES = ("core", "external", "locate", "memory", "models")  # shared subpackages; every other one is a method
GROUP = "editgate.editors"
EXTRAS = {"lora": "peft"}  # methods that need a package which is not always installed; the extra has its name
_CONSTRUCTOR = tuple(field.name for field in fields(EditorResources))


def names() -> list[str]:
    """Names of the built-in editors: every module and every subpackage of `editors` except the shared ones.

    A method whose package is not installed is left out.
    """
    files = [path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_")]
    folders = [path.parent.name for path in FOLDER.glob("*/__init__.py") if path.parent.name not in SHARED_PACKAGES]
    return sorted(name for name in files + folders if name not in EXTRAS or find_spec(EXTRAS[name]) is not None)


def code_path(name: str) -> Path:
    """File or folder with the code of a built-in editor."""
    folder = FOLDER / name
    return folder if folder.is_dir() else folder.with_suffix(".py")


def code_paths(name: str) -> list[Path]:
    """Files and folders with the code of a built-in editor: its own, then those of the methods that it builds on."""
    found, known = [name], set(names())
    for method in found:  # it grows
        own = code_path(method)
        modules = (module for file in sorted(own.rglob("*.py")) or [own] for module in imported_modules(file))
        methods = (module.split(".")[1] for module in modules if module.startswith("editors."))
        found += dict.fromkeys(other for other in methods if other in known and other not in found)
    return [code_path(method) for method in found]


def built_in(name: str) -> type[Editor]:
    """Class of a built-in editor.

    Raises:
        EditorNotFound: There is none of that name.
    """
    if name not in names():
        raise EditorNotFound(_not_found(name))
    base = _base_class()
    module = importlib.import_module(f"editors.{name}")
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, base) and value.__module__ == module.__name__
    ]
    (only,) = [value for value in classes if not inspect.isabstract(value)]
    return only


def installed() -> dict[str, str]:
    """Editors registered by installed packages: `package.module:Name` by entry point name."""
    return {entry.name: f"{entry.module}:{entry.attr}" for entry in entry_points(group=GROUP)}


def _not_found(name: str) -> str:
    if name in EXTRAS:
        return f"{name} needs the package {EXTRAS[name]}: pip install 'editgate[{EXTRAS[name]}]'"
    known = [*names(), *installed()]
    near = get_close_matches(name, known, n=len(known), cutoff=0.0)
    return f"no editor is called {name!r}; there are {', '.join(near)}, or name your own as package.module:Class"


def target_of(spec: str) -> str:
    """The spec itself, or what an installed package registered under that name.

    Raises:
        EditorNotFound: The name is both a built-in editor's and an installed package's.
    """
    registered = installed()
    if spec in registered and spec in names():
        raise EditorNotFound(
            f"{spec!r} is a built-in editor, but {registered[spec]} is registered under the same name in the group "
            f"{GROUP}; rename that entry point"
        )
    return registered.get(spec, spec)


def package_of(spec: str) -> str:
    """Top-level package of an external editor's code."""
    path = target_of(spec).partition(":")[0]
    return easyedit.PACKAGE if path == easyedit.PREFIX else path.partition(".")[0]


def kind_of(spec: str) -> Kind:
    """Kind of an editor: weights, wrapper or prompt; "weights" for an external one without the attribute `kind`."""
    target = resolve(spec)
    kind: Kind = getattr(target, "kind", "weights")
    return kind


def takes_batches(spec: str) -> bool:
    """Whether an editor applies several edits as one: an external function does, and a class with `apply_many`."""
    if _is_built_in(spec):
        return declared_flag(spec, "takes_batches")
    target = resolve(spec)
    whole = not inspect.isclass(target) or callable(getattr(target, "apply_many", None))
    return bool(getattr(target, "takes_batches", whole))


def needs_subject(spec: str) -> bool:
    """Whether an editor can apply only edits that say their subject; an external one, if it says so."""
    if _is_built_in(spec):
        return declared_flag(spec, "needs_subject")
    return bool(getattr(resolve(spec), "needs_subject", False))


def _is_built_in(spec: str) -> bool:
    return spec in names() and target_of(spec) == spec


def resolve(spec: str) -> Callable[..., object]:
    """Class or function that a spec names.

    Raises:
        EditorNotFound: No built-in editor, module or attribute of that name.
        ForeignFailure: Importing the module raised.
    """
    spec = target_of(spec)
    if ":" not in spec:
        return built_in(spec)
    path, _, attribute = spec.partition(":")
    if path == easyedit.PREFIX:
        return easyedit.method(attribute)
    module = _imported(spec, path)
    try:
        target: Any = reduce(getattr, attribute.split("."), module)
    except AttributeError:
        public = ", ".join(sorted(name for name in vars(module) if not name.startswith("_"))) or "nothing"
        raise EditorNotFound(f"{spec!r}: module {path!r} has no {attribute!r}; it has {public}") from None
    return target  # type: ignore[no-any-return]  # `check_shape` checks it


def _imported(spec: str, path: str) -> Any:  # noqa: ANN401 - a module, which has what it has
    try:
        with external_call(f"{spec!r}: importing {path!r}"):
            return importlib.import_module(path)
    except ForeignFailure as failure:
        if not isinstance(failure.__cause__, ModuleNotFoundError):
            raise
        raise EditorNotFound(
            f"{spec!r}: cannot import {path!r} ({failure.__cause__}); install its package (pip install -e DIR) or put "
            "the folder that holds it on PYTHONPATH"
        ) from failure.__cause__


def check_settings(spec: str, settings: Mapping[str, object]) -> None:
    """Check hyperparameter names without a model.

    Raises:
        EditorNotFound: No such editor.
        EditorError: It cannot be called as an editor.
        HyperparameterError: It has no hyperparameter of that name; the message lists those that it has.
    """
    if _is_built_in(spec):
        known_names(declared_names(spec), spec, settings)
        return
    target = resolve(spec)
    if inspect.isclass(target) and issubclass(target, _base_class()):
        known_names(tuple(target.Hyperparameters.model_fields), target.name, settings)
    else:
        check_shape(spec, target, settings, (*_CONSTRUCTOR, "defaults"))
        getattr(target, "check_settings", lambda _: None)(settings)


def create(spec: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, **kwargs: object) -> Editor:
    """An editor on a model.

    Args:
        spec: A built-in name, a name that an installed package registered, or `package.module:Name` of a class
            with `apply(edit)` or of a function `edit(model, tokenizer, edits) -> model`.
        model: A causal language model, edited in place.
        tokenizer: Its tokenizer.
        **kwargs: The fields of `EditorResources` (`corpus`, `contexts`, `covariances`, `training`, `scratch`,
            `seed`, `record`); `defaults`, the key of the model whose shipped hyperparameters to start from;
            everything else is a hyperparameter. An external editor gets its hyperparameters, and those of
            the other arguments that its signature names.

    Raises:
        EditorNotFound: No such editor.
        HyperparameterError: A hyperparameter is unknown, out of bounds or missing.
        UnsupportedModel: The method does not support the model's architecture.
    """
    target = resolve(spec)
    offered = {name: kwargs.pop(name) for name in (*_CONSTRUCTOR, "defaults") if name in kwargs}
    if not (inspect.isclass(target) and issubclass(target, _base_class())):
        from editors.external.adapter import ExternalEditor  # noqa: PLC0415 - as in `_base_class`

        return ExternalEditor(spec, target, model, tokenizer, settings=kwargs, offered=offered)
    named = offered.pop("defaults", None)
    key = model_key(model) if named is None else str(named).lower()
    record = build(target.Hyperparameters, target.name, key, kwargs, explicit=named is not None)
    constructor: Callable[..., Editor] = target
    return constructor(model, tokenizer, hyperparameters=record, resources=EditorResources(**offered))  # type: ignore[arg-type]  # names are checked above


def _base_class() -> type[Editor]:
    """The class of all editors; imported where an editor is needed, because torch takes a second or two."""
    from editors.core.editor import Editor  # noqa: PLC0415 - see above

    return Editor
