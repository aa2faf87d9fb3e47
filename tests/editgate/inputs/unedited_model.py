"""An unedited model: in memory, or one whose identity is known and that is loaded when something asks it.

A run that finds all of its answers in the store needs no weights, only what tells the model from others.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from editgate.cache.digest import digest_text
from editgate.errors import StoreError
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase

if TYPE_CHECKING:
    from editgate.inputs.models import ModelSource

INCIDENTAL = ("_name_or_path", "transformers_version", "_from_model_config")  # no part in what a model answers
Identity = dict[str, str]  # digests of weights, config and tokenizer, and the weights' type and kind of device


class UneditedModel(Protocol):
    """A model that is asked and copied; nobody may edit `model` itself, only copies of it."""

    @property
    def source(self) -> ModelSource:
        """Where it comes from."""

    @property
    def model(self) -> PreTrainedModel:
        """The model."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer."""

    @property
    def identity(self) -> Identity:
        """What tells it from others."""

    @property
    def in_memory(self) -> bool:
        """Whether its weights are."""


@dataclass(frozen=True)
class LoadedModel:
    """An unedited model in memory.

    Attributes:
        source: where it comes from.
        model: with its weights.
        tokenizer: its tokenizer.
        digest: of its weights.
        tokenizer_digest: of its tokenizer.
    """

    source: ModelSource
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    digest: str
    tokenizer_digest: str

    @property
    def identity(self) -> Identity:
        """The same weights under another rotary base, or with another end of text, are another model."""
        parameter = next(self.model.parameters())
        return {
            "model": self.digest,
            "config": digest_text(_settings(self.model)),
            "tokenizer": self.tokenizer_digest,
            "dtype": str(parameter.dtype),
            "device": str(parameter.device.type),
        }

    @property
    def in_memory(self) -> bool:
        """True."""
        return True


@dataclass
class DeferredModel:
    """An unedited model that was loaded by an earlier run, and is again when something asks it.

    Attributes:
        source: where it comes from.
        load: loads it.
        load_tokenizer: loads its tokenizer alone, with its digest: questions can be read without weights.
        identity: what it was when it was loaded from the same files.
    """

    source: ModelSource
    load: Callable[[], LoadedModel]
    load_tokenizer: Callable[[], tuple[PreTrainedTokenizerBase, str]]
    identity: Identity

    @cached_property
    def model(self) -> PreTrainedModel:
        """The model in memory.

        Raises:
            StoreError: it is not what it was.
        """
        found = self.load()
        self._compare(found.identity)
        return found.model

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer.

        Raises:
            StoreError: it is not what it was.
        """
        found, digest = self.load_tokenizer()
        self._compare(self.identity | {"tokenizer": digest})
        return found

    @property
    def in_memory(self) -> bool:
        """Whether something has asked it."""
        return "model" in self.__dict__

    def _compare(self, found: Identity) -> None:
        if found != self.identity:
            other = ", ".join(name for name, value in found.items() if value != self.identity.get(name))
            raise StoreError(
                f"{self.source.name} is not the model that the same files were before (another {other}): it comes out "
                "of each loading otherwise, or the store's folder identity/ is damaged. Remove that folder."
            )


def _settings(model: PreTrainedModel) -> str:
    tables = [each.to_dict() for each in (model.config, model.generation_config) if each is not None]
    kept = [{name: value for name, value in table.items() if name not in INCIDENTAL} for table in tables]
    return json.dumps(kept, sort_keys=True, default=str)
