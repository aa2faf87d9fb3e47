"""A model behind a memory is scored as its base wherever no entry answers, and asked only once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from transformers import PreTrainedModel

from editgate.inference.backend import Completion
from editgate.inference.memory_backend import MemoryBackend
from editgate.inference.select_backend import backend
from editors.memory.memory_model import MemoryModel, Tokens
from editors.memory.prefixed_model import PrefixedModel
from meta.support import toy

TEXTS = ["red cat", "blue dog sun", "gold", "iron tea salt one two"]


class Remembers(MemoryModel[PrefixedModel]):
    """Answers prompts that begin with a certain token as if something stood before them."""

    asked = 0

    def __init__(self, first: int) -> None:
        super().__init__(toy.model())
        self.first = first
        self.redirect = PrefixedModel(self.model, (7, 8, 9))

    def routes(self, contexts: Sequence[Tokens]) -> list[PrefixedModel | None]:
        """By the first token after <s>."""
        return [self.redirect if context[1] == self.first else None for context in contexts]

    def logits(self, tokens: Tokens, context: int, route: PrefixedModel) -> torch.Tensor:
        """As if the prefix stood before."""
        assert 0 < context <= len(tokens)
        self.asked += 1
        return route.logits(tokens)

    def continue_routed(self, context: Tokens, route: PrefixedModel, limit: int, eos_ids: frozenset[int]) -> list[int]:
        """As if the prefix stood before."""
        self.asked += 1
        return route.generate(context, limit, eos_ids)


class ReadsMore(Remembers):
    """Says what a plain model would have to read."""

    def read_instead(self, context: Tokens, route: PrefixedModel) -> tuple[PreTrainedModel, Tokens]:
        """The base, and the prompt after the prefix."""
        return route.model, route.read(context)


@pytest.fixture
def model() -> Remembers:
    return Remembers(toy.tokenizer(bos=True)(TEXTS[0]).input_ids[1])


def _pairs() -> list[tuple[Tokens, Tokens]]:
    ids = [tuple(toy.tokenizer(bos=True)(text).input_ids) for text in TEXTS]
    return [(context, option) for context in ids for option in ((30, 31), (32,), (33, 34, 35))]


def test_only_routed_prompts_are_answered_by_the_memory(model: Remembers) -> None:
    """Scores elsewhere are the base's own, to the last bit; the routed ones are those of prefix + prompt."""
    lm = backend(model, toy.tokenizer(bos=True), "toy")
    assert isinstance(lm, MemoryBackend)
    found = lm.score(_pairs())
    plain = backend(model.model, toy.tokenizer(bos=True), "toy")
    expected = plain.score(_pairs())
    assert found[3:] == expected[3:]
    assert (lm.routed, model.asked) == (1, 3)
    moved = plain.score([((7, 8, 9, *context), option) for context, option in _pairs()[:3]])
    assert [value for value, _ in found[:3]] == pytest.approx([value for value, _ in moved], abs=1e-4)
    assert [greedy for _, greedy in found[:3]] == [greedy for _, greedy in moved]


def test_what_a_plain_model_reads_is_run_by_the_engine(model: Remembers) -> None:
    """Scores and texts of a memory that says what to read are those of one that reads it, which is not asked."""
    tokenizer = toy.tokenizer(bos=True)
    says = ReadsMore(model.first)
    plain, asked = backend(says, tokenizer, "toy"), backend(model, tokenizer, "toy")
    scores, expected = plain.score(_pairs()), asked.score(_pairs())
    assert [value for value, _ in scores] == pytest.approx([value for value, _ in expected], abs=1e-4)
    assert [greedy for _, greedy in scores] == [greedy for _, greedy in expected]
    requests = [Completion(text, tuple(tokenizer(text).input_ids), (), 5) for text in TEXTS]
    assert [text.text for text in plain.generate(requests)] == [text.text for text in asked.generate(requests)]
    assert (says.asked, plain.routed) == (0, 2)
    assert model.asked


def test_what_is_written_is_what_is_scored(model: Remembers) -> None:
    """The greedy continuation of a routed prompt is greedy when it is scored, and differs from the base's."""
    lm = backend(model, toy.tokenizer(bos=True), "toy")
    prompts = [tuple(toy.tokenizer(bos=True)(text).input_ids) for text in TEXTS]
    asked = [Completion(text, prompt, (), 5) for text, prompt in zip(TEXTS, prompts, strict=True)]
    written = lm.generate(asked)
    base = backend(model.model, toy.tokenizer(bos=True), "toy").generate(asked)
    assert [w.text for w in written[1:]] == [w.text for w in base[1:]]
    assert written[0].text != base[0].text
    tokens = tuple(model.continue_routed(prompts[0], model.redirect, 5, frozenset()))
    assert lm.score([(prompts[0], tokens)])[0][1]


def test_the_base_is_asked_once_until_it_changes(model: Remembers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second evaluation reuses the base's answers; after a change of the base it does not."""
    first = backend(model, toy.tokenizer(bos=True), "toy").score(_pairs())
    again = backend(model, toy.tokenizer(bos=True), "toy")
    assert isinstance(again, MemoryBackend)
    monkeypatch.setattr(again.base, "score", pytest.fail)
    assert again.score(_pairs()) == first
    monkeypatch.undo()
    with torch.no_grad():
        model.model.get_parameter("lm_head.weight").mul_(0.5)
    changed = backend(model, toy.tokenizer(bos=True), "toy").score(_pairs())
    assert changed[3:] != first[3:]
