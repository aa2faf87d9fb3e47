"""An edit becomes the right token ids: fact token, target ids, the positions where these are scored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from editors import Edit, EditError
from editors.models.tokens import encode, essence_row, find, prompt_row, target_ids, target_row
from meta.support import tiny_models as tiny

words = st.sampled_from([*" ".join(tiny.CORPUS).replace(".", "").split(), "Zürich", "naïve", "{x}", "o'Neil"])
phrases = st.lists(words, min_size=1, max_size=4).map(" ".join)
maybe = st.one_of(st.just(""), phrases)
many = settings(max_examples=60, deadline=None)


@many
@given(bos=st.booleans(), before=maybe, subject=phrases, after=maybe)
def test_fact_token_covers_the_end_of_the_subject(bos: bool, before: str, subject: str, after: str) -> None:  # noqa: FBT001
    """With and without BOS, wherever the subject stands: the ids up to the fact token end in the subject."""
    tokenizer = tiny.tokenizer(bos=bos)
    head, tail = before + " " * bool(before), " " * bool(after) + after
    ids, last = find(tokenizer, head, subject, tail, "subject_last")
    assert ids == encode(tokenizer, head + subject + tail)
    assert tokenizer.decode(ids[: last + 1], skip_special_tokens=True) == head + subject
    assert tokenizer.decode(ids[last + 1 :]) == tail
    _, first = find(tokenizer, head, subject, tail, "subject_first")
    assert str(tokenizer.decode(ids[first : last + 1])).strip() == subject
    assert find(tokenizer, head, subject, tail, "last")[1] == len(ids) - 1
    _, following = find(tokenizer, head, subject, tail, "subject_first_after_last")
    assert following == min(last + 1, len(ids) - 1)


def test_fact_token_in_a_merged_word() -> None:
    """Where the text after the subject merges into its last token, that token is the fact token."""
    tokenizer = tiny.tokenizer()
    ids, last = find(tokenizer, "The ", "rai", "n waited", "subject_last")
    assert tokenizer.decode(ids[1 : last + 1]) == "The rain"


@many
@given(bos=st.booleans(), prompt=phrases, target=phrases)
def test_target_ids_continue_the_prompt(*, bos: bool, prompt: str, target: str) -> None:
    """Prompt ids and target ids together are the ids of prompt, one space and target; no BOS inside."""
    tokenizer = tiny.tokenizer(bos=bos)
    ids = target_ids(tokenizer, prompt, target)
    assert encode(tokenizer, prompt) + ids == encode(tokenizer, f"{prompt} {target}")
    assert tokenizer.bos_token_id not in ids


class Marks:
    """A tokenizer that merges across the space and puts a lone word mark before a word on its own."""

    eos_token_id, eos_token = 9, "</s>"

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:  # noqa: ANN401
        """Ids of the three texts that the test needs."""
        return {"input_ids": {"A b": [1, 2, 9], "A b c": [1, 3, 9], " c": [5, 6]}[text]}

    def convert_ids_to_tokens(self, index: int) -> str:
        """The mark is token 5."""
        return "▁" if index == 5 else "▁c"


def test_target_ids_drop_a_lone_word_mark() -> None:
    """If the prompt's ids are no prefix of the whole, the target is encoded alone, without the stray mark."""
    assert target_ids(Marks(), "A b", "c") == [6]  # type: ignore[arg-type]  # a stand-in


def test_labels_are_where_target_ids_are_predicted() -> None:
    """A row holds all target ids but the last; its labels are the positions that predict them."""
    tokenizer, edit = tiny.tokenizer(), tiny.EDITS[0]
    prompt = prompt_row(tokenizer, edit, "The rain. {}", "subject_last")
    assert list(prompt.ids) == encode(tokenizer, f"The rain. {edit.text}")
    row = target_row(prompt, [11, 12, 13])
    assert row.ids == (*prompt.ids, 11, 12)
    assert row.labels == tuple(len(prompt.ids) - 1 + step for step in range(3))
    assert row.lookup == prompt.lookup


def test_essence_row_ends_at_the_fact_token() -> None:
    """The row whose distribution is kept is the subject alone, read at its last token."""
    tokenizer = tiny.tokenizer()
    row = essence_row(tokenizer, "Marta Velen", "subject_last")
    assert list(row.ids) == encode(tokenizer, "Marta Velen")
    assert row.labels == (row.lookup,) == (len(row.ids) - 1,)


@pytest.mark.parametrize(
    ("prompt", "subject", "filled"),
    [
        ("{} is in", "Paris", "Paris is in"),
        ("Paris is in", "Paris", "Paris is in"),
        ("Paris, Texas is not Paris in", "Paris", "Paris, Texas is not Paris in"),
        ("{} {{a}}", "x{y}", "x{y} {{a}}"),
    ],
)
def test_edit_fills_its_prompt(prompt: str, subject: str, filled: str) -> None:
    """The prompt is filled by plain replacement, whatever braces stand around."""
    assert Edit(prompt, subject, " new ").text == filled
    assert Edit(prompt, subject, " new ").target_new == "new"


def test_edit_takes_the_last_occurrence() -> None:
    """Without a place for the subject its last occurrence becomes the place."""
    assert Edit("Paris, Texas is not Paris in", "Paris", "x").prompt == "Paris, Texas is not {} in"


@pytest.mark.parametrize(
    ("prompt", "subject", "taken"),
    [
        ("Art, said the Artisan, is", "Art", "{}, said the Artisan, is"),
        ("Smart Art of the art", "Art", "Smart {} of the art"),
        ("Élan is not Él in", "Él", "Élan is not {} in"),
        ("In 1914 the year 19 was", "19", "In 1914 the year {} was"),
        ("Paris's river is", "Paris", "{}'s river is"),
        ("東京は日本の", "東京", "{}は日本の"),
        ("Who is (Art)?", "Art", "Who is ({})?"),
        ("Who wrote C++ first?", "C++", "Who wrote {} first?"),
    ],
)
def test_edit_takes_whole_words(prompt: str, subject: str, taken: str) -> None:
    """The subject is not found within a longer word; where words are written together it is found."""
    assert Edit(prompt, subject, "x").prompt == taken


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"prompt": "no place"}, "does not contain the subject"),
        ({"prompt": "The Artisan is", "subject": "Art"}, "only within a longer word contains the subject 'Art'"),
        ({"prompt": "{} and {}"}, "exactly one"),
        ({"subject": " Paris"}, "surrounding white space"),
        ({"subject": ""}, "subject is ''"),
        ({"target_new": "  "}, "target_new is '  '"),
        ({"target_true": None}, "must be a text"),
        ({"rephrases": "one"}, "must be a list"),
        ({"rephrases": [1]}, "each member must be a text"),
        ({"neighbors": [["only prompt"]]}, "must be a pair"),
        ({"neighbors": {"a": "b"}}, "must be a list"),
        ({"color": "red"}, "unknown color"),
    ],
)
def test_malformed_edits_are_refused(changes: dict[str, Any], part: str) -> None:
    """Each fault of an edit is an EditError that names the field and its value."""
    values = {"prompt": "{} is in", "subject": "Paris", "target_new": "Italy"} | changes
    with pytest.raises(EditError, match=part):
        Edit.from_dict(values)


def test_missing_field_is_named() -> None:
    """An edit without a required field says which one."""
    with pytest.raises(EditError, match="missing target_new"):
        Edit.from_dict({"prompt": "{}", "subject": "x"})


def test_edit_survives_json() -> None:
    """An edit equals itself after a way through JSON."""
    edit = Edit("{} is", "Paris", "Italy", "France", ("In Paris, one is in",), (("Rome is in", "Italy"),))
    assert Edit.from_dict(json.loads(json.dumps(edit.to_dict()))) == edit
