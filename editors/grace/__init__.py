"""GRACE: Aging with GRACE, lifelong model editing with discrete key-value adaptors (Hartvigsen et al., NeurIPS 2023).

The weights (arXiv:2211.11031) are not changed. One matrix gets a codebook: keys k_i are inputs of the matrix at
the last token of edited prompts, values v_i are outputs trained to give the edited answer, and ε_i are radii. If the
input q of a prompt is inside the ball of its nearest key, that key's value replaces the matrix's output h:

    n = argmin_i ‖k_i - q‖,     h' = v_n if ‖k_n - q‖ ≤ ε_n, else h

    v_n = argmin_v  -(1/T) Σ_j log p(t_j | prompt, t_<j; h' = v)      by Adam, from a random or the matrix's own output

Prompts outside all balls get the unedited model's logits, bit-exact. A new edit near a key with the same answer
expands that ball; near a key with another answer, both balls shrink to half the distance.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from editors.core.edit import Edit
from editors.core.editor import Editor, Kind
from editors.core.errors import HyperparameterError, NoEffect, NonFiniteEdit, StateMismatch
from editors.core.hyperparameters import BaseHyperparameters
from editors.core.resources import EditorResources
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.grace.codebook import MASKED, Codebook, Expansion
from editors.grace.codebook_model import WATCHED, CodebookModel, Replacement, span
from editors.grace.value_search import ValueSearch
from editors.memory.memory_model import Tokens
from editors.models.architecture import Architecture
from editors.models.projection import Matrix
from editors.models.shared_queries import Queries
from editors.models.tokens import Row, encode, target_ids, target_row

COUNT = "count"  # in the state: edits applied so far


class GraceHyperparameters(BaseHyperparameters):
    """GRACE's hyperparameters; `layer` and `matrix` say what `inner_params` says in the authors' code."""

    layer: int = Field(ge=0, description="block with the matrix whose output is replaced")
    matrix: str = Field(
        "down", description="that matrix: `down`, `up` or `attention_out`, or its path in the block, e.g. mlp.up_proj"
    )
    eps: float = Field(gt=0, description="radius of a new ball: Euclidean, in the unit of the matrix's inputs")
    edit_lr: float = Field(1.0, gt=0, description="Adam's rate in the search of a value")
    n_iter: int = Field(ge=1, description="Adam steps in the search of a value")
    val_init: str = Field(
        "cold", pattern="^(cold|warm)$", description="a value begins uniform in [0, 1) (cold) or as the matrix has it"
    )
    replacement: Replacement = Field(
        "replace_last", description="the value goes to the prompt's last token, to all before it, or to every token"
    )
    eps_expand: Expansion = Field(
        "coverage", description="a ball grows to the query (coverage), or its key moves too (moving_average)"
    )
    end_token: bool = Field(
        default=False, description="learn the tokenizer's end token after each answer, as the authors' data has it"
    )
    requery: bool = Field(
        default=False, description="each token written is looked up too (published code), not the prompt alone"
    )


class Grace(Editor):
    """A codebook for one matrix."""

    name: ClassVar[str] = "grace"
    kind: ClassVar[Kind] = "wrapper"
    Hyperparameters: ClassVar[type[BaseHyperparameters]] = GraceHyperparameters
    Book: ClassVar[type[Codebook]] = Codebook
    hyperparameters: GraceHyperparameters

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        hyperparameters: GraceHyperparameters,
        resources: EditorResources | None = None,
    ) -> None:
        super().__init__(model, tokenizer, hyperparameters=hyperparameters, resources=resources)
        self.architecture = Architecture(model)
        self.architecture.check_layers("layer", (hyperparameters.layer,))
        self.architecture.check_batch_dimension("grace")
        self._matrix = self._find_matrix(hyperparameters)
        outputs, inputs = self._matrix.stored(self._matrix.weight).shape
        self._queries = Queries(self.architecture, self._matrix.module)
        self._empty = self.Book.empty(inputs, outputs, self._matrix.weight)
        self._codebook_model = CodebookModel(model, self._matrix.module, self._queries, self._empty, hyperparameters)
        self._count = 0

    def _find_matrix(self, hyperparameters: GraceHyperparameters) -> Matrix:
        architecture, layer = self.architecture, hyperparameters.layer
        roles = {"down": architecture.down, "up": architecture.up, "attention_out": architecture.attention_out}
        if hyperparameters.matrix in roles:
            return roles[hyperparameters.matrix](layer)
        path = f"{architecture.family.blocks}.{layer}.{hyperparameters.matrix}"
        try:
            return Matrix(path, self._model.get_submodule(path))
        except AttributeError:
            raise HyperparameterError(
                f"matrix is {hyperparameters.matrix!r}, but there is no {path} here; give {', '.join(roles)} or a path "
                "in a block"
            ) from None

    @property
    def model(self) -> PreTrainedModel:
        """The base model with the codebook."""
        return self._codebook_model  # type: ignore[return-value]  # it has the methods that evaluation uses

    def apply(self, edit: Edit) -> None:
        """Apply one edit, in place, on top of those before.

        Raises:
            NonFiniteEdit: The value contains NaN or infinity; the codebook is unchanged.
            NoEffect: The edited prompt would not hit its own entry; the codebook is unchanged.
            EditError: The edit does not suit the tokenizer.
        """
        super().apply(edit)

    def _edit(self, edits: Sequence[Edit]) -> None:
        for edit in edits:
            self._edit_one(edit)

    def _edit_one(self, edit: Edit) -> None:
        prompt = tuple(encode(self.tokenizer, edit.text))
        target = target_ids(self.tokenizer, edit.text, edit.target_new)
        if self.hyperparameters.end_token:
            target = [*target, self.tokenizer.eos_token_id]
        label = [MASKED] * len(prompt) + target
        query, start = self._queries.alone(prompt), self._start(prompt)
        book, entry = self._codebook_model.book.insert(query, label, start, self.hyperparameters)
        if not bool(book.keys.isfinite().all()):
            raise NonFiniteEdit(f"the key of entry {entry} is not finite")
        value, losses = self._search(prompt, target).run(book.values[entry], self.hyperparameters)
        if not bool(value.isfinite().all()):
            raise NonFiniteEdit(f"the value of entry {entry} is not finite")
        self._commit(edit, prompt, book.valued(entry, value), entry)
        self._diagnostics = {
            "loss": losses[-1],
            "entry": float(entry),
            "entries": float(len(book)),
            "epsilon": float(book.epsilons[entry]),
            "value_norm": float(value.norm()),
        }
        for name, tensor in {**book.valued(entry, value).state(), "losses": torch.tensor(losses)}.items():
            self.record(name, tensor)

    def _search(self, prompt: Tokens, target: Sequence[int]) -> ValueSearch:
        where = span(len(prompt), self.hyperparameters.replacement)
        if not prompt[where]:
            raise NoEffect(f"{self.name}: {self.hyperparameters.replacement} replaces nothing in a one-token prompt")
        row = target_row(Row(prompt, where.start), target)
        module, layer = self._matrix.module, self.hyperparameters.layer
        return ValueSearch(self.architecture, module, layer, row=row, target=target, where=where)

    @torch.no_grad()
    def _start(self, prompt: Tokens) -> Tensor:
        """Initial value of the search, [d_out]: random, or the matrix's own output."""
        if self.hyperparameters.val_init == "cold":
            return cold_start(self.seed, self._count, self._empty.values).to(self._empty.values)
        output: Tensor = self._matrix.module(self._queries.alone(prompt))
        return output.to(self._empty.values)

    def _commit(self, edit: Edit, prompt: Tokens, book: Codebook, entry: int) -> None:
        """Install a codebook, if the prompt hits its entry in it."""
        before, self._codebook_model.book = self._codebook_model.book, book
        self._codebook_model.routed = self._codebook_model.hits = 0
        hit = self._codebook_model.routes([prompt])[0]
        if hit != entry:
            self._codebook_model.book = before
            other = "no entry" if hit in (None, WATCHED) else f"entry {hit}"
            raise NoEffect(f"{self.name}: {edit.text!r} would be answered by {other} instead of its own, {entry}")
        self._count += 1

    def diagnostics(self) -> dict[str, float]:
        """Also the number of prompts since the last `apply` (`asked`), and how many of them hit an entry (`hits`)."""
        counts = {"asked": float(self._codebook_model.routed), "hits": float(self._codebook_model.hits)}
        return self._diagnostics | (counts if self._diagnostics else {})

    def _memory(self) -> dict[str, Tensor]:
        return self._codebook_model.book.state() | ({COUNT: torch.tensor(self._count)} if self._count else {})

    def _check_memory(self, memory: Mapping[str, Tensor]) -> None:
        if memory:
            self._empty.check(memory)
        unknown = set(memory) - {COUNT, *(field.name for field in fields(Codebook))}
        if unknown or (memory and COUNT not in memory):
            raise StateMismatch(f"the state of {self.name} lacks {COUNT!r} or contains {', '.join(sorted(unknown))}")

    def _load_memory(self, memory: Mapping[str, Tensor]) -> None:
        self._codebook_model.book = self._empty.loaded(memory) if memory else self._empty
        self._count = int(memory[COUNT]) if memory else 0


def cold_start(seed: int, number: int, values: Tensor) -> Tensor:
    """A new value [d_out], uniform in [0, 1): the same for the same edit of the same trajectory."""
    generator = torch.Generator().manual_seed(random.Random(f"{seed}:{number}").getrandbits(63))
    return torch.rand(values.shape[1], generator=generator)
