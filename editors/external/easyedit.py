"""Any method of an installed EasyEdit: `easyedit:METHOD` with the hyperparameter `hparams`, a file of EasyEdit's own.

EasyEdit (the package `easyeditor`) is not on a package index, and is imported only if one of its methods is used.
The adapter was written against its sources as published (`easyeditor/util/alg_dict.py`, `editors/editor.py` and the
methods' `*_main.py`) and is tested against a stand-in with that interface; it has not been run with the real package,
whose methods mostly want a CUDA device. What it does:

- One request a call, `copy=False` and `keep_original_weight=False` as in EasyEdit's own sequential loop (with True its
  SERAC forgets all edits but the last). Each call gets the model that the last one returned, if that is a transformers
  model; a wrapper around it (GRACE, WISE, SERAC) is not wrapped twice: as in EasyEdit, they find their memory in the
  model that was passed in.
- Whatever the last call returned is what is evaluated.
- EasyEdit keeps context templates, caches and executors in modules. They are re-created for each editor, and the random
  generators are seeded before each edit, so that trajectories do not leak into each other.
- WISE's irrelevant prompts come from the edits for training, never from those that are measured.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from editors.core.edit import Edit
from editors.core.errors import EditorError, EditorNotFound, ForeignFailure, HyperparameterError
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.external.calls import external_call, seeded

if TYPE_CHECKING:
    from editors.core.editor import Kind

PREFIX = "easyedit"
PACKAGE = "easyeditor"
ALGORITHMS = f"{PACKAGE}.util.alg_dict"
PADS_RIGHT = ("ROME", "R-ROME", "MEMIT", "EMMET")  # for all others EasyEdit pads on the left
NEED_SUBJECT = (*PADS_RIGHT, "AlphaEdit", "PMET")  # they look for its tokens
NO_ANSWER = "<|endoftext|>"  # EasyEdit's own stand-in where the true answer is not known


def method(name: str) -> type[EasyEditMethod]:
    """The class that runs EasyEdit's method of that name.

    Raises:
        EditorNotFound: EasyEdit is not installed, cannot be imported, or has no such method.
    """
    algorithms = _import(ALGORITHMS).ALG_DICT
    known = sorted(known for known, apply in algorithms.items() if apply is not None)
    if name not in known:
        raise EditorNotFound(f"EasyEdit has no method {name!r}; it has {', '.join(known)}")
    return type(name, (EasyEditMethod,), {"method": name, "needs_subject": name in NEED_SUBJECT})


class EasyEditMethod:
    """One method of EasyEdit as an external class.

    Args:
        model: Edited in place.
        tokenizer: Copied; the copy pads as EasyEdit's does.
        hparams: A hyperparameter file of EasyEdit (YAML); its `alg_name`, `model_name` and `device` count.
        training: Edits to take irrelevant prompts from.
        seed: Of the random generators, seeded before each edit.

    Raises:
        HyperparameterError: The file is missing, or EasyEdit refuses it.
    """

    kind: ClassVar[Kind] = "wrapper"  # its modules and objects have state: `restore` replays the edits
    method: ClassVar[str]
    needs_subject: ClassVar[bool] = False

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        hparams: str,
        training: Sequence[Edit] = (),
        seed: int = 0,
    ) -> None:
        self.model: Any = model
        self._handed = model
        self._tokenizer = _as_easyedit_pads(self.method, tokenizer)
        self._apply = _fresh(self.method)
        self.check_settings({"hparams": hparams})
        self._hparams = _hyperparameters(self.method, hparams)
        self._training, self._seed, self._count = training, seed, 0

    @staticmethod
    def check_settings(settings: Mapping[str, object]) -> None:
        """Check that the file exists, without a model.

        Raises:
            HyperparameterError: `hparams` is not a file.
        """
        path = str(settings.get("hparams"))
        if not Path(path).is_file():
            raise HyperparameterError(
                f"hparams={path!r} is not a file; give one of EasyEdit's own, hparams/METHOD/*.yaml"
            )

    def apply(self, edit: Edit) -> None:
        """One request on top of those before.

        Raises:
            EditorError: The method returned something other than a model and the old weights.
        """
        import transformers  # noqa: PLC0415 - takes seconds

        options = {"copy": False, "return_orig_weights": True, "keep_original_weight": False, "train_ds": None}
        with seeded(self._seed):
            result = self._apply(self._handed, self._tokenizer, [self._request(edit)], self._hparams, **options)
        if not isinstance(result, tuple) or len(result) != 2:
            kind = type(result).__name__
            raise EditorError(f"EasyEdit's {self.method} returned a {kind}, not an edited model and its old weights")
        self.model, self._count = result[0], self._count + 1
        if isinstance(self.model, transformers.PreTrainedModel):
            self._handed = self.model

    def _request(self, edit: Edit) -> dict[str, Any]:
        request: dict[str, Any] = {
            "prompt": edit.text,
            "subject": edit.subject or "",
            "target_new": edit.target_new,
            "ground_truth": edit.target_true or NO_ANSWER,
            "portability": {},
            "locality": {},
        }
        if self._training:
            other = self._training[self._count % len(self._training)]
            request["loc_prompt"] = f"{other.text} {other.target_true}".strip()
        return request


def _import(name: str) -> ModuleType:
    try:
        with external_call(f"importing {name}"):
            return importlib.import_module(name)
    except ForeignFailure as failure:
        cause = failure.__cause__
        if isinstance(cause, ModuleNotFoundError) and cause.name == PACKAGE:
            raise EditorNotFound(
                "EasyEdit is not installed: clone github.com/zjunlp/EasyEdit, install its requirements.txt, and put "
                "the clone on PYTHONPATH"
            ) from None
        raise EditorNotFound(f"EasyEdit cannot be imported: {failure}") from cause


def _fresh(name: str) -> Callable[..., Any]:
    """The method's function, with nothing left in its modules by earlier edits."""
    apply = _import(ALGORITHMS).ALG_DICT[name]
    family = apply.__module__.rpartition(".")[0]
    for module in [m for m in sys.modules if m == family or m.startswith(f"{family}.")][::-1]:
        importlib.reload(sys.modules[module])  # into the same namespace, which `apply` looks its globals up in
    if inspect.ismethod(apply):  # an executor keeps its first model
        executor = getattr(sys.modules[apply.__module__], type(apply.__self__).__name__)
        apply = getattr(executor(), apply.__name__)
    function: Callable[..., Any] = apply
    return function


def _hyperparameters(name: str, path: str) -> object:
    wanted = {_plain(name) + ending for ending in ("hyperparams", "hparams")}
    for module in (_import(PACKAGE), _import(ALGORITHMS)):
        for exported, value in vars(module).items():
            if _plain(exported) in wanted and hasattr(value, "from_hparams"):
                return value.from_hparams(path)
    raise HyperparameterError(f"EasyEdit exports no hyperparameters for {name!r} ({' or '.join(sorted(wanted))})")


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _as_easyedit_pads(name: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    own = copy.deepcopy(tokenizer)
    own.pad_token_id = own.eos_token_id
    own.padding_side = "right" if name in PADS_RIGHT else "left"
    return own
