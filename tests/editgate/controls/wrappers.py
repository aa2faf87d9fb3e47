"""Controls behind a wrapper: the weights stay the base's, and what was edited is kept where no rule can look into it.

`Memory` itself is an honest one, which keeps every rule; each other differs from it in one thing.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import CausalLMOutput

from editors import Edit

Facts = dict[tuple[int, ...], tuple[int, ...]]  # the answer's tokens by the prompt's
SHARED: Facts = {}  # what AnswersFromGlobal answers from
KNOWN: set[tuple[int, ...]] = set()  # what SkipsRepeats has seen, in any of its objects
PATCHED: dict[str, Any] = {}  # what PatchesItsClass put into its model's class
SURE = 30.0  # added to the logit of each token of an answer


def tokens(tokenizer: PreTrainedTokenizerBase, edit: Edit) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the tokens of an edit's prompt and of its new answer."""
    answer = tokenizer(f" {edit.target_new}", add_special_tokens=False).input_ids
    return tuple(tokenizer(edit.text).input_ids), tuple(answer)


def answered(row: tuple[int, ...], logits: Tensor, facts: Facts) -> Tensor:
    """Return the logits [1, T, V] of one row, sure of the answer wherever the row begins with an edited prompt."""
    logits = logits.clone()
    for prompt, answer in facts.items():
        if row[: len(prompt)] == prompt:
            for place, token in enumerate(answer, start=len(prompt) - 1):
                logits[:, place : place + 1, token] += SURE
    return logits


class Remembered:
    """The model that a `Memory` shows: the base with a table before it, called one prompt at a time."""

    def __init__(self, inner: PreTrainedModel, facts: Facts) -> None:
        self.inner, self.facts = inner, facts

    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> CausalLMOutput:
        """Logits [1, T, V]."""
        said = self.inner(input_ids=input_ids, attention_mask=attention_mask)
        return CausalLMOutput(logits=answered(tuple(input_ids[0].tolist()), said.logits, self.facts))


class Memory:
    """Remembers each answer by its prompt. An honest wrapper."""

    kind: ClassVar[str] = "wrapper"

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model: Any = Remembered(model, {})
        self.tokenizer = tokenizer

    def apply(self, edit: Edit) -> None:
        """Remember one more."""
        prompt, answer = tokens(self.tokenizer, edit)
        self.model.facts[prompt] = answer


class NoOpWrapper(Memory):
    """Shows a wrapper that remembers nothing."""

    def apply(self, edit: Edit) -> None:
        """Do nothing at all."""


class BrokenWrapper(Memory):
    """Answers what it remembers with NaN."""

    def apply(self, edit: Edit) -> None:
        """Remember an answer whose logits cannot be."""
        super().apply(edit)
        self.model.inner.get_output_embeddings().weight.data[0, 0] = torch.nan


class RemembersLast(Memory):
    """Keeps only its last edit, as a wrapper does that is made anew at every call."""

    def apply(self, edit: Edit) -> None:
        """Begin again."""
        self.model.facts.clear()
        super().apply(edit)


class RemembersLastOfBatch(Memory):
    """Of several edits at once remembers the last alone."""

    def apply_many(self, edits: list[Edit]) -> None:
        """Forget all edits of the batch before its last."""
        self.apply(edits[-1])


class AnswersFromGlobal(Memory):
    """Keeps its table in the module, where all its objects find it."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(model, tokenizer)
        self.model.facts = SHARED


class SkipsRepeats(Memory):
    """Leaves out what the module says was edited before: applied again after a restore, its edits do nothing."""

    def apply(self, edit: Edit) -> None:
        """Remember, unless that was done in this process."""
        prompt, _ = tokens(self.tokenizer, edit)
        if prompt not in KNOWN:
            KNOWN.add(prompt)
            super().apply(edit)


class ForgetsWhenSaved:
    """Hooks its table into the model without saying that it is a wrapper, so that no saved state has it."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.facts: Facts = {}
        model.register_forward_hook(self._answer, with_kwargs=True)

    def apply(self, edit: Edit) -> None:
        """Remember one more."""
        prompt, answer = tokens(self.tokenizer, edit)
        self.facts[prompt] = answer

    def _answer(self, _module: object, args: tuple[Any, ...], given: dict[str, Any], said: Any) -> Any:  # noqa: ANN401 - of the base's type
        ids: Tensor = args[0] if args else given["input_ids"]
        rows = [answered(tuple(row.tolist()), said.logits[i : i + 1], self.facts) for i, row in enumerate(ids)]
        said.logits = torch.cat(rows)
        return said


class Undecided(Memory):
    """Counts its calls, and answers a little differently each time."""

    def apply(self, edit: Edit) -> None:
        """Remember one more, with a model that drifts."""
        super().apply(edit)
        inner = self.model.inner
        inner.register_forward_hook(_drifting([0]))


def _drifting(calls: list[int]) -> Any:  # noqa: ANN401 - a hook
    def hook(_module: object, _args: object, said: Any) -> Any:  # noqa: ANN401 - of the base's type
        calls[0] += 1
        said.logits = said.logits * (1 + 1e-3 * calls[0])
        return said

    return hook


class PatchesItsClass(Memory):
    """Replaces the forward pass of its model's class, and so of every model of that class in the process."""

    def apply(self, edit: Edit) -> None:
        """Remember one more, and make every model a little surer."""
        super().apply(edit)
        kind = type(self.model.inner)
        forward = PATCHED.setdefault(kind.__name__, kind.forward)
        share = 1 + 1e-3 * len(edit.target_new)

        def surer(model: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the base's
            said = forward(model, *args, **kwargs)
            said.logits = said.logits * share
            return said

        kind.forward = surer
