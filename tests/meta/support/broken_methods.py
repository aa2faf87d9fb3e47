"""Methods with one mistake each, as an author might make it; `test_author_mistakes.py` says what each is told."""

from __future__ import annotations

import copy

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from editors import Edit


def nudge(model: PreTrainedModel, number: float = 1.0) -> None:
    """Change one matrix a little."""
    with torch.no_grad():
        model.get_parameter("model.layers.1.mlp.down_proj.weight").mul_(1 + 1e-3 * number)


class Method:
    """What the classes share; without `apply` it is no method."""

    def __init__(self, model: PreTrainedModel, _tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model
        self.count = 0


class WrongApply(Method):
    """Wants the model again at each edit."""

    def apply(self, model: PreTrainedModel, edit: Edit) -> None:
        """Never called."""


class WrongConstructor:
    """Takes no tokenizer."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def apply(self, edit: Edit) -> None:
        """Never called."""


def wrong_function(model: PreTrainedModel, _edits: list[Edit]) -> PreTrainedModel:
    """Takes no tokenizer."""
    return model


def needs_strength(
    model: PreTrainedModel, _tokenizer: PreTrainedTokenizerBase, _edits: list[Edit], strength: float
) -> PreTrainedModel:
    """Has a hyperparameter without a default."""
    nudge(model, strength)
    return model


def returns_none(model: PreTrainedModel, _tokenizer: PreTrainedTokenizerBase, _edits: list[Edit]) -> None:
    """Edits in place and forgets to return."""
    nudge(model)


def returns_a_pair(
    model: PreTrainedModel, _tokenizer: PreTrainedTokenizerBase, _edits: list[Edit]
) -> tuple[PreTrainedModel, dict[str, object]]:
    """Returns what EasyEdit's functions return."""
    nudge(model)
    return model, {}


class ReturnsACopy(Method):
    """Edits a copy that it shows to nobody."""

    def apply(self, _edit: Edit) -> PreTrainedModel:
        """Return instead of assigning to `self.model`."""
        edited = copy.deepcopy(self.model)
        nudge(edited)
        return edited


def returns_the_base(
    model: PreTrainedModel, _tokenizer: PreTrainedTokenizerBase, _edits: list[Edit]
) -> PreTrainedModel:
    """Edits a copy and returns the other."""
    nudge(copy.deepcopy(model))
    return model


def modifies_the_base(
    model: PreTrainedModel, _tokenizer: PreTrainedTokenizerBase, _edits: list[Edit]
) -> PreTrainedModel:
    """Returns an edited copy and spoils the model that it was handed."""
    edited = copy.deepcopy(model)
    nudge(edited)
    nudge(model)
    return edited


def draws_without_a_seed(
    model: PreTrainedModel, _tokenizer: PreTrainedTokenizerBase, _edits: list[Edit]
) -> PreTrainedModel:
    """Draws from the global generator."""
    nudge(model, float(torch.rand(())))
    return model


class Remembers(Method):
    """Counts its edits in the object."""

    def apply(self, _edit: Edit) -> None:
        """Do more at each edit."""
        self.count += 1
        nudge(self.model, self.count)


class RaisesACommand(Method):
    """Its message would act on a terminal and on a log of GitHub."""

    def apply(self, edit: Edit) -> None:
        """Raise."""
        raise ValueError(f"{edit.subject}\n::error title=x::y\x1b[2J")


class RaisesAtSeven(Method):
    """Six edits go well."""

    def apply(self, edit: Edit) -> None:
        """Look something up that is not there the seventh time."""
        self.count += 1
        nudge(self.model, len(edit.about))
        self.look_up(self.count)

    def look_up(self, number: int) -> None:
        """Have one frame more in the traceback."""
        if number == 7:
            raise KeyError("the seventh")
