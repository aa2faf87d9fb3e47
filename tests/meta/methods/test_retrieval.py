"""Retrieval puts the most similar edit before a question, and nothing before the others."""

from __future__ import annotations

from typing import Any

import pytest

from editors import Editor, HyperparameterError, create
from editors.memory.in_context_model import InContextModel, PromptContext
from editors.models.tokens import encode
from meta.support import tiny_models as tiny


def _editor(**changes: Any) -> Editor:  # noqa: ANN401 - hyperparameters
    given = {"training": tiny.EDITS}
    return create("retrieval", tiny.model(), tiny.tokenizer(), **given, **tiny.settings("retrieval", **changes))


def _route(editor: Editor, text: str) -> PromptContext | None:
    assert isinstance(editor.model, InContextModel)
    return editor.model.routes([tuple(encode(tiny.tokenizer(), text))])[0]


def test_the_most_similar_edit_stands_before_the_question() -> None:
    """Of four stored edits the one about the subject is read, with its answer, before a rephrased question."""
    editor = _editor(threshold=0.1)
    editor.apply_many(tiny.EDITS)
    found = _route(editor, "Everyone knows the capital of Velidor, which is")
    assert found is not None
    read = tiny.tokenizer().decode(list(found.before.prefix), skip_special_tokens=True)
    assert read == "The capital of Velidor is Amber Bay.\n"
    assert not found.after


def test_a_question_that_is_like_no_edit_is_the_bases() -> None:
    """Below the threshold nothing is put before a question."""
    editor = _editor()
    editor.apply_many(tiny.EDITS)
    assert _route(editor, "A botanist, a nurse and a river guide sat in the") is None


def test_a_template_without_the_question_is_refused() -> None:
    """The message has the template and the fields that it may have."""
    with pytest.raises(HyperparameterError, match=r"0 times \{query\}; allowed are \{fact\}, \{target\}, \{query\}"):
        _editor(query="{fact} {target}.")
