"""Edits that do not say their subject: what an edit is then, and which methods apply it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from editors import Edit, EditError, Editor, create, names, needs_subject
from editors.core.weights import same_bits
from editors.models.tokens import prompt_row
from meta.support import tiny_models as tiny

FINDS_SUBJECTS = [name for name in names() if needs_subject(name)]
READS_PROMPTS = [name for name in names() if not needs_subject(name)]
NAMED = tiny.EDITS[:2]
NAMELESS = [replace(edit, prompt=edit.text, subject=None) for edit in NAMED]
texts = st.text(min_size=1).filter(lambda text: text.strip() and "{}" not in text)


def _editor(method: str) -> Editor:
    given_ = {"corpus": tiny.CORPUS, "training": tiny.EDITS[2:]}
    return create(method, tiny.model(), tiny.tokenizer(), **given_, **tiny.settings(method))


def _says(editor: Editor, edit: Edit) -> Tensor:
    with torch.no_grad():
        logits: Tensor = editor.model(tiny.tokenizer()(edit.text, return_tensors="pt").input_ids).logits
    return logits


@given(prompt=texts, answer=texts)
def test_the_prompt_is_the_text(prompt: str, answer: str) -> None:
    """Without a subject every prompt stands as it is, and an edit survives being written and read."""
    edit = Edit(prompt, target_new=answer)
    assert (edit.text, edit.around, edit.about, edit.subject) == (prompt, (prompt, ""), prompt, None)
    written = edit.to_dict()
    assert Edit.from_dict(written) == edit
    assert Edit.from_dict({name: value for name, value in written.items() if name != "subject"}) == edit


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"prompt": "{} speaks"}, "has a place {} for a subject, and there is no subject"),
        ({"prompt": "Ann speaks", "slot": 0}, "is given the slot 0 for a subject, and there is no subject"),
        ({"prompt": " "}, "prompt is ' '; it must be a text that is not blank"),
        ({"prompt": "Ann speaks", "subject": ""}, "without surrounding white space, or left out"),
        ({"prompt": "Ann speaks", "target_new": ""}, "target_new is ''"),
    ],
)
def test_what_is_no_edit_without_a_subject(fields: dict[str, str], part: str) -> None:
    """A place for a subject that is not said is a forgotten subject; what else is blank is refused as ever."""
    with pytest.raises(EditError) as raised:
        Edit(**({"target_new": "English"} | fields))  # type: ignore[arg-type]  # some of them are wrong
    assert part in str(raised.value)


def test_a_subject_is_found_in_the_prompts_of_an_edit_that_names_none() -> None:
    """Two edits share a subject if one names what the other only asks about, whatever the capitals; in words, whole."""
    asked = Edit("who is ann ray?", target_new="a nurse", rephrases=("What does Bo Lee's friend do?",))
    assert asked.shares_subject(Edit("{} speaks", "Ann Ray", "English"))
    assert Edit("{} speaks", "Bo Lee", "English").shares_subject(asked)
    assert not asked.shares_subject(Edit("{} speaks", "Ann Ra", "English"))
    assert asked.shares_subject(replace(asked, target_new="English"))
    assert not asked.shares_subject(Edit("who is bo lee?", target_new="a nurse"))


@pytest.mark.parametrize("method", READS_PROMPTS)
def test_a_method_that_reads_prompts_does_the_same_without_a_subject(method: str) -> None:
    """After each edit the model says bit by bit what it says after the same with its subject; so does its state."""
    with_, without = _editor(method), _editor(method)
    with_.apply(NAMED[0])
    without.apply(NAMELESS[0])
    assert same_bits(_says(with_, NAMED[0]), _says(without, NAMED[0]))
    with_.apply(NAMED[1])
    without.apply(NAMELESS[1])
    assert all(same_bits(_says(with_, edit), _says(without, edit)) for edit in NAMED)
    fresh = _editor(method)
    fresh.restore(without.state())
    assert same_bits(_says(fresh, NAMED[0]), _says(without, NAMED[0]))


@pytest.mark.parametrize("method", FINDS_SUBJECTS)
def test_a_method_that_needs_a_subject_says_so(method: str) -> None:
    """It names itself and the prompt, before it prepares anything, and changes nothing: of a mixed batch neither."""
    editor = _editor(method)
    with pytest.raises(EditError, match=f"{method} needs the subject of an edit, and '{NAMELESS[1].text}' has none"):
        editor.apply_many([NAMELESS[1], NAMED[0]])
    assert editor.state() == {}


def test_a_template_of_ike_that_shows_the_subject_needs_one() -> None:
    """What would be shown as nothing is refused, with the template."""
    given_ = {"corpus": tiny.CORPUS, "training": tiny.EDITS[2:]}
    shown = tiny.settings("ike", query="About {subject}: {query}")
    editor = create("ike", tiny.model(), tiny.tokenizer(), **given_, **shown)
    with pytest.raises(EditError, match=r"has no subject, which 'About \{subject\}: \{query\}' shows"):
        editor.apply(NAMELESS[0])


def test_no_token_of_a_subject_is_found_without_one() -> None:
    """The last token is there all the same; every other fact token is the subject's."""
    assert prompt_row(tiny.tokenizer(), NAMELESS[0], "{}", "last") == prompt_row(
        tiny.tokenizer(), NAMED[0], "{}", "last"
    )
    with pytest.raises(EditError, match="has no subject, so no token that is subject_last"):
        prompt_row(tiny.tokenizer(), NAMELESS[0], "{}", "subject_last")
