"""The two models on which an edit is timed, and what their editors are given.

Second moments are made up: they have the right size and are well-conditioned, and that is all that time depends
on. Networks are trained for a few steps only, for the same reason, and outside the time taken.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from editgate.inputs import edit_lists, models
from editgate.miniature.world.corpus import covariance_texts
from editors import Edit, Editor, create
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.models.architecture import Architecture
from editors.models.projection import Matrix

TABLES = Path(__file__).with_name("settings.toml")
CONTEXTS = (
    ("{}",),
    tuple(f"{text}. {{}}" for text in ("The morning was quiet", "Therefore the ferry left", "The rain went on",
                                       "I saw the copper bell", "You know the town library")),
)  # fmt: skip
TRAINING = 40  # edits, none of which is timed
TEXTS = 200


@dataclass(frozen=True)
class Rig:
    """A model on which editors are timed.

    Attributes:
        name: What the table calls it.
        model, tokenizer: The parts of it.
        edits: The first is timed, the others are there to train on.
        corpus: Texts for methods that train on some.
        moments: Made-up second moments of the inputs of all down-projections and attention out-projections.
        settings: Hyperparameters by method.
        defaults: Key of shipped hyperparameters, where there are any.
        rounds: How often an edit is timed.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    edits: Sequence[Edit]
    corpus: Sequence[str]
    moments: dict[str, Tensor]
    settings: dict[str, dict[str, Any]]
    defaults: str | None
    rounds: int

    def editor(self, method: str) -> Editor | None:
        """The method on this model, prepared; None if nothing says its hyperparameters."""
        if self.defaults is None and method not in self.settings:
            return None
        given: dict[str, Any] = {} if self.defaults is None else {"defaults": self.defaults}
        given |= {"contexts": CONTEXTS, "covariances": self.moments, "training": self.edits[1 : 1 + TRAINING]}
        given["corpus"] = self.corpus
        made = create(method, self.model, self.tokenizer, **given, **self.settings.get(method, {}))
        made.prepare()
        return made


def llama_mini() -> Rig:
    """The shipped miniature, with the shipped hyperparameters but for the length of trainings."""
    loaded = models.load(models.find("llama-mini"), device="cpu", dtype="float32")
    return Rig(
        "llama-mini", loaded.model, loaded.tokenizer, _edits(), _texts(), _moments(loaded.model), _tables("llama-mini"),
        "llama-mini", rounds=5,
    )  # fmt: skip


def gpt2_small() -> Rig:
    """A random GPT-2 of the smallest size (124 million parameters) with the miniature's tokenizer."""
    tokenizer = models.load(models.find("llama-mini"), device="cpu", dtype="float32").tokenizer
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config())
    return Rig(
        "gpt2-small", model, tokenizer, _edits(), _texts(), _moments(model), _tables("gpt2-small"), None, rounds=2
    )


def _edits() -> Sequence[Edit]:
    return edit_lists.read(edit_lists.SHIPPED["counterfact"])


def _texts() -> list[str]:
    """Texts of the miniature's corpus."""
    return covariance_texts()[:TEXTS]


def _tables(model: str) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, dict[str, Any]]] = tomllib.loads(TABLES.read_text(encoding="utf-8"))
    return tables[model]


def _moments(model: PreTrainedModel) -> dict[str, Tensor]:
    """Diagonal second moments whose entries fall from 1 to 1/1000; matrices of one size share one."""
    architecture = Architecture(model)
    matrices = [
        each(layer) for layer in range(architecture.depth) for each in (architecture.down, architecture.attention_out)
    ]
    sizes = {matrix.path: _inputs(matrix) for matrix in matrices}
    made = {size: torch.logspace(0, -3, size).diag() for size in set(sizes.values())}
    return {path: made[size] for path, size in sizes.items()}


def _inputs(matrix: Matrix) -> int:
    return matrix.stored(matrix.weight).shape[1]
