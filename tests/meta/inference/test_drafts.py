"""A draft changes how soon a text is written, and never the text."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from editgate.inference.backend import Completion
from editgate.inference.drafts import worthwhile
from editgate.inference.engine import Engine
from editgate.inference.select_backend import backend
from editgate.inference.tokenize import PairTokenizer, Tokens
from meta.support import toy

WORDS = 400  # in the toy's vocabulary, at least
LENGTH = 40
Change = Callable[[Tokens], Tokens]


@cache
def _written(family: str) -> tuple[Completion, ...]:
    """Prompts, each with the text that the toy writes after it as its draft."""
    texts = [" ".join(toy.WORDS[i : i + 3 + i % 5]) for i in range(12)]
    prompts = PairTokenizer(toy.tokenizer(bos=True)).prompts(texts)
    asked = [Completion(text, tokens, ("gold",), LENGTH) for text, tokens in zip(texts, prompts, strict=True)]
    plain = backend(toy.model(family), toy.tokenizer(bos=True), "toy").generate(asked)
    assert len({written.tokens for written in plain}) > 5, "the toy must write different things"
    assert any(written.capped for written in plain), "some texts must be cut by the limit"
    return tuple(replace(each, draft=written.tokens) for each, written in zip(asked, plain, strict=True))


def _generated(family: str, asked: list[Completion]) -> list[Tokens]:
    return [each.tokens for each in backend(toy.model(family), toy.tokenizer(bos=True), "toy").generate(asked)]


@st.composite
def _changed(draw: st.DrawFn, text: Tokens) -> Tokens:
    """The text with some of its tokens replaced, left out, or put in; or something else altogether."""
    if draw(st.integers(0, 5)) == 0:
        return tuple(draw(st.lists(st.integers(3, 200), max_size=LENGTH + 5)))
    tokens = list(text)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(0, len(tokens) - 1)))
        new = draw(st.lists(st.integers(3, 200), max_size=2))
        tokens[at : at + draw(st.integers(0, 2))] = new
    return tuple(tokens)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "mistral"])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_the_text_does_not_depend_on_the_draft(family: str, data: st.DataObject) -> None:
    """With right, slightly wrong, foreign, too long and no drafts a batch's texts are those of plain decoding."""
    plain = _written(family)
    asked = [replace(each, draft=data.draw(_changed(each.draft))) for each in plain]
    assert _generated(family, asked) == [each.draft for each in plain]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_right_draft_spares_forward_passes(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 tokens take 40 passes without a draft and at most 5 with a right one; with one wrong number, at most 10."""
    passes = []
    forward = Engine._forward

    def counted(engine: Engine, *inputs: object) -> object:
        passes.append(1)
        return forward(engine, *inputs)  # type: ignore[arg-type]  # whatever it takes

    monkeypatch.setattr(Engine, "_forward", counted)
    right = max(_written(family), key=lambda each: len(each.draft))
    assert len(right.draft) == LENGTH
    wrong = replace(right, draft=(*right.draft[:15], right.draft[15] + 1, *right.draft[16:]))
    counts = []
    for asked in (replace(right, draft=()), right, wrong):
        passes.clear()
        assert _generated(family, [asked]) == [right.draft]
        counts.append(len(passes))
    assert counts[0] >= LENGTH
    assert counts[1] <= 5
    assert counts[2] <= 10


def test_a_wrong_draft_breaks_no_sound_model() -> None:
    """Numbers that overflow only after a wrong draft are no fault of the model: it writes what it writes without."""
    model, plain = toy.model("llama"), _written("llama")
    used = {token for each in plain for token in (*each.prompt, *each.draft)}
    poison = next(token for token in range(3, WORDS) if token not in used)
    model.set_input_embeddings(copy.deepcopy(model.get_input_embeddings()))  # the toy's head may be tied to them
    with torch.no_grad():
        model.get_parameter("model.embed_tokens.weight")[poison] = float("nan")
    asked = [replace(each, draft=(*each.draft[:2], poison, *each.draft[3:])) for each in plain]
    written = backend(model, toy.tokenizer(bos=True), "toy").generate(asked)
    assert [each.tokens for each in written] == [each.draft for each in plain]


@given(st.lists(st.lists(st.integers(0, 9), max_size=70), min_size=1, max_size=40))
def test_a_pass_tries_what_is_likely_to_pay(proposals: list[list[int]]) -> None:
    """Proposals are only cut, all to one length; alone in its pass a text tries all."""
    chosen = worthwhile(proposals)
    longest = max(map(len, chosen))
    assert chosen == [each[:longest] for each in proposals]
    assert worthwhile(proposals[:1]) == proposals[:1]
