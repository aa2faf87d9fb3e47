"""One method of EasyEdit behind the interface of an external class.

- One request a call, `copy=False` and `keep_original_weight=False` as in EasyEdit's own sequential loop (with True its
  SERAC forgets all edits but the last). Each call gets the model that the last one returned, if that is a transformers
  model; a wrapper around it (GRACE, WISE, SERAC) is not wrapped twice: as in EasyEdit, they find their memory in the
  model that was passed in.
- Whatever the last call returned is what is evaluated.
- The methods' modules are imported anew for each editor, and the random generators are seeded before each edit, so that
  trajectories do not leak into each other. It runs in a folder of its own, which is removed with the editor.
- Second moments are those of the base model on its own corpus, as for editgate's methods, and not of Wikipedia.
- WISE's irrelevant prompts come from the edits for training, never from those that are measured.
"""

from __future__ import annotations

import contextlib
import copy
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from editors.core.edit import Edit
from editors.core.errors import EditorError
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.external.calls import seeded
from editors.external.easyedit import hyperparameters, package, second_moments
from editors.external.easyedit.printed_reason import printed_reasons

if TYPE_CHECKING:
    from torch import Tensor

    from editors.core.editor import Kind

FACT_TOKEN = "fact_token"  # noqa: S105 - no password: the hyperparameter of all methods that look for the subject's tokens
NO_ANSWER = "<|endoftext|>"  # EasyEdit's own stand-in where the true answer is not known


def method(name: str) -> type[EasyEditMethod]:
    """The class that runs EasyEdit's method of that name; upper and lower case do not matter.

    Raises:
        EditorNotFound: EasyEdit is not installed, cannot be imported, or has no such method.
    """
    name = package.named(name)
    fields = vars(package.hyperparameter_class(name)).get("__annotations__", {})
    return type(name, (EasyEditMethod,), {"method": name, "needs_subject": FACT_TOKEN in fields})


class EasyEditMethod:
    """One method of EasyEdit as an external class.

    Args:
        model: Edited in place.
        tokenizer: Copied; the copy pads as EasyEdit's does.
        hparams: A hyperparameter file of EasyEdit (YAML). What it says of device, statistics, the place of AlphaEdit's
            projection and the model's name does not count.
        training: Edits to take irrelevant prompts from.
        covariances: C [f, f] by module path, of the modules that `covariance_paths` names.
        seed: Of the random generators, seeded before each edit.

    Raises:
        HyperparameterError: The file is missing, or EasyEdit refuses it.
        UnsupportedModel: The model lacks modules that the file names.
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
        covariances: Mapping[str, Tensor] | None = None,
        seed: int = 0,
    ) -> None:
        self.model: Any = model
        self._handed = model
        self._tokenizer = _as_easyedit_pads(self.method, tokenizer)
        self._apply = package.fresh(self.method)
        self._hparams = hyperparameters.load(self.method, hparams)
        self.check_model({"hparams": hparams}, model)
        self._training, self._covariances, self._seed, self._count = training, covariances or {}, seed, 0
        self._folder = Path(tempfile.mkdtemp(prefix="editgate-easyedit-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        hyperparameters.adapt(self._hparams, model, self._folder)

    @classmethod
    def check_settings(cls, settings: Mapping[str, object]) -> None:
        """Check the file, without a model.

        Raises:
            HyperparameterError: `hparams` is not a file, or EasyEdit refuses it.
        """
        hyperparameters.load(cls.method, str(settings.get("hparams")))

    @classmethod
    def check_model(cls, settings: Mapping[str, object], model: PreTrainedModel) -> None:
        """Check that the model has what the file names; its tensors need no values.

        Raises:
            UnsupportedModel: It lacks some; the message names them.
        """
        record = hyperparameters.load(cls.method, str(settings.get("hparams")))
        hyperparameters.check_model(settings, record, f"{package.PREFIX}:{cls.method}", model)

    @classmethod
    def covariance_paths(cls, settings: Mapping[str, object]) -> list[str]:
        """Paths of the modules whose covariances the method needs."""
        return second_moments.wanted(cls.method, hyperparameters.load(cls.method, str(settings.get("hparams"))))

    @classmethod
    def files(cls, settings: Mapping[str, object]) -> dict[str, Path]:
        """Further files that results depend on, by the field that names them."""
        return hyperparameters.files(hyperparameters.load(cls.method, str(settings.get("hparams"))))

    def apply(self, edit: Edit) -> None:
        """One request on top of those before.

        Raises:
            EditorError: The method returned something other than a model and the old weights.
        """
        import transformers  # noqa: PLC0415 - takes seconds

        if not self._count:
            second_moments.write(self.method, self._hparams, self._handed, self._covariances)
        options = {"copy": False, "return_orig_weights": True, "keep_original_weight": False, "train_ds": None}
        with self._running():
            result = self._apply(self._handed, self._tokenizer, [self._request(edit)], self._hparams, **options)
        if not isinstance(result, tuple) or len(result) != 2:
            kind = type(result).__name__
            raise EditorError(f"EasyEdit's {self.method} returned a {kind}, not an edited model and its old weights")
        self.model, self._count = result[0], self._count + 1
        if isinstance(self.model, transformers.PreTrainedModel):
            self._handed = self.model

    @contextmanager
    def _running(self) -> Iterator[None]:
        """In the block random numbers are seeded, and files are written into the editor's own folder."""
        with seeded(self._seed), contextlib.chdir(self._folder), printed_reasons():
            yield

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


def _as_easyedit_pads(name: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    own = copy.deepcopy(tokenizer)
    own.pad_token_id = own.eos_token_id
    own.padding_side = "right" if name in package.padded_right() else "left"
    return own
