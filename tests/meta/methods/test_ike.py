"""What IKE's definition promises of its demonstrations and its memory, on tiny random models."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from editors import ContextOverflow, Edit, HyperparameterError, MissingTraining, NoEffect, StateMismatch, create
from editors.ike import Ike
from editors.ike.demonstrations import choose, kinds
from editors.memory.in_context_model import InContextModel, PromptContext
from editors.memory.similarity import TfIdf
from editors.memory.templates import fill
from editors.models.tokens import encode
from meta.support import tiny_models as tiny

few = settings(max_examples=12, deadline=None)
families = st.sampled_from(["llama", "gpt2"])
NAMES = [f"{first} {last}" for first in ("Ada", "Bo", "Cleo", "Dan", "Eve", "Finn") for last in ("Orr", "Pye", "Quin")]
POOL = [
    Edit(
        "The capital of {} is",
        name,
        f"town{number}",
        rephrases=(f"It rained. The main city of {name} is",),
        neighbors=((f"The river of {name} is", f"river{number}"),),
    )
    for number, name in enumerate(NAMES)
]
LIKENESS = TfIdf([edit.text for edit in POOL])


def _ike(
    family: str = "llama",
    seed: int = 0,
    shape: dict[str, Any] | None = None,
    length: int = 512,
    **changes: Any,  # noqa: ANN401 - hyperparameters
) -> Ike:
    long = {"max_position_embeddings" if family == "llama" else "n_positions": length}
    model = tiny.model(family, extra=long, **(shape or {}))
    values = tiny.settings("ike", **changes)
    editor = create("ike", model, tiny.tokenizer(), training=POOL, seed=seed, **values)
    assert isinstance(editor, Ike)
    return editor


def _tokens(text: str) -> tuple[int, ...]:
    return tuple(encode(tiny.tokenizer(), text))


def _model(editor: Ike) -> InContextModel:
    model: object = editor.model
    assert isinstance(model, InContextModel)
    return model


def _route(editor: Ike, text: str) -> PromptContext | None:
    return _model(editor).routes([_tokens(text)])[0]


def _read(editor: Ike, text: str) -> str:
    """All that is read for a prompt, as text, without special tokens."""
    route = _route(editor, text)
    assert route is not None
    ids = [*route.before.prefix, *_tokens(text), *route.after]
    return str(tiny.tokenizer().decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


@pytest.mark.parametrize(("count", "wanted"), [(32, (4, 12, 16)), (16, (2, 6, 8)), (8, (1, 3, 4)), (0, (0, 0, 0))])
def test_kinds_are_in_the_papers_ratio(count: int, wanted: tuple[int, int, int]) -> None:
    """Of 32 demonstrations 4 copy, 12 update and 16 retain; other numbers likewise."""
    counted = Counter(kinds(count))
    assert (counted["copy"], counted["update"], counted["retain"]) == wanted


@few
@given(seed=st.integers(0, 999), order=st.randoms(use_true_random=False), count=st.integers(0, len(POOL)))
def test_demonstrations_do_not_depend_on_the_pools_order(seed: int, order: random.Random, count: int) -> None:
    """A shuffled pool gives the same demonstrations, of as many different edits, each answered as its kind demands."""
    edit = Edit("The capital of {} is", "Ada Pye of Orr", "Velidor")
    similarities = {other.text: number * 0.01 for number, other in enumerate(POOL)}

    def rank(_query: str, texts: Any) -> list[float]:  # noqa: ANN401 - a sequence of texts
        return [similarities[text] for text in texts]

    shuffled = order.sample(POOL, len(POOL))
    first, second = (choose(edit, pool, count, rank, seed) for pool in (POOL, shuffled))
    assert first == second
    assert len({each.edit for each in first}) == len(first) == count
    assert Counter(each.kind for each in first) == Counter(kinds(count))
    for each in first:
        near = dict(each.edit.neighbors)
        assert each.answer == (near[each.query] if each.kind == "retain" else each.edit.target_new)
        assert not each.query.startswith("It rained")
    numbers = [similarities[each.edit.text] for each in first]
    assert numbers == sorted(numbers), "the nearest stands last"


def test_demonstrations_leave_out_the_subject() -> None:
    """Another edit about the same subject, which may say the opposite, is never shown."""
    shown = choose(Edit("The river of {} is", NAMES[0], "Tay"), POOL, len(POOL), LIKENESS, 0)
    assert NAMES[0] not in {each.edit.subject for each in shown}
    assert len(shown) == len(POOL) - 1


def test_the_paper_s_prompt() -> None:
    """Two demonstrations, the new fact as its own one, the new fact, the query: word for word the paper's form."""
    editor = _ike(k=2)
    edit = Edit("The capital of {} is", "Velidor", "Amber Bay")
    editor.apply(edit)
    lines = _read(editor, edit.text).split("\n\n")
    assert len(lines) == 4
    assert all(line.startswith("New Fact: The capital of ") for line in lines[:2])
    fact = "New Fact: The capital of Velidor is Amber Bay\nPrompt: The capital of Velidor is"
    assert lines[2:] == [f"{fact} Amber Bay", fact]


@few
@given(family=families, seed=st.integers(0, 99), tied=st.booleans(), bos=st.booleans())
def test_prompts_about_others_are_the_bases(family: str, seed: int, *, tied: bool, bos: bool) -> None:
    """In one batch an edit's prompt gets other logits, another prompt the base's bit by bit, as both do after undo."""
    editor = _ike(family, shape={"seed": seed, "tied": tied, "width": 8})
    tokenizer = tiny.tokenizer(bos=bos)
    ids = [tokenizer(text).input_ids for text in ("The capital of Velidor is", "People walk to the mill near the sea")]
    width = max(map(len, ids))
    rows = torch.tensor([row + [0] * (width - len(row)) for row in ids])
    model = _model(editor)
    base = model.model(rows).logits
    editor.apply(tiny.EDITS[0])
    with model.reading([len(row) for row in ids]):
        got = model(rows).logits
    assert got is not None
    assert torch.equal(got[1], base[1])
    last = len(ids[0]) - 1
    assert not torch.allclose(got[0, last], base[0, last], atol=1e-4)
    editor.undo()
    after = model(rows).logits
    assert after is not None
    assert torch.equal(after, base)


@few
@given(family=families, seed=st.integers(0, 99), before=st.booleans(), after=st.booleans(), size=st.integers(1, 3))
def test_what_is_scored_is_what_is_read(family: str, seed: int, size: int, *, before: bool, after: bool) -> None:
    """The answer's logits are the base's own after everything that is read, whatever stands around the prompt."""
    template = (
        ("{fact} {target}.\n" if before else "") + "{query}" + ("?\n{target} {target}.\nAnswer:" if after else "")
    )
    editor = _ike(family, shape={"seed": seed}, k=2 * before, self_copy=before, query=template)
    edit = tiny.EDITS[0]
    editor.apply(edit)
    model, context, answer = _model(editor), _tokens(edit.text), tuple(range(40, 40 + size))
    (route,) = model.routes([context])
    assert route is not None
    got = model.logits(context + answer, len(context), route)[len(context) - 1 :]
    prompt = context[1:] if route.before.bos is not None else context
    whole = torch.tensor([[*route.before.prefix, *prompt, *route.after, *answer]])
    assert torch.equal(got, model.model(whole).logits[0, -size - 1 :])
    written = model.continue_routed(context, route, size, frozenset())
    assert written[0] == int(got[0].argmax())


@few
@given(room=st.integers(1, 60), k=st.integers(0, 8), seed=st.integers(0, 9))
def test_overflow_drops_the_farthest_and_never_the_fact(room: int, k: int, seed: int) -> None:
    """In a small context the first demonstrations go, as few as needed; the diagnostics tell how many."""
    small, large = (_ike(seed=seed, k=k, answer_room=340 + room, length=length) for length in (512, 4096))
    edit = tiny.EDITS[0]
    for editor in (small, large):
        editor.apply(edit)
    few_lines, all_lines = (_read(editor, edit.text).split("\n\n") for editor in (small, large))
    dropped = len(all_lines) - len(few_lines)
    assert few_lines == all_lines[dropped:]
    assert small.diagnostics()["dropped"] == dropped
    assert small.diagnostics()["dropped_since"] == dropped, "by the one prompt that was read"
    route = _route(small, edit.text)
    assert route is not None
    assert len(route.before.prefix) + len(_tokens(edit.text)) - 1 + 340 + room <= 512
    if dropped:
        more = "\n\n".join(all_lines[dropped - 1 :])
        assert len(_tokens(more)) + 340 + room > 512, "one more would not have fitted"


def test_a_fact_that_does_not_fit_is_refused() -> None:
    """No room for fact and prompt: ContextOverflow, and the memory is unchanged."""
    editor = _ike(answer_room=500)
    with pytest.raises(ContextOverflow, match="of the prompt exceed the model's context of 512"):
        editor.apply(tiny.EDITS[0])
    assert editor.state() == {}


@pytest.mark.parametrize(("policy", "facts"), [("retrieve", [0]), ("last", [1]), ("all", [0, 1])])
def test_policies(policy: str, facts: list[int]) -> None:
    """After two edits the first one's prompt is asked with it, with the last edit, or with both."""
    editor = _ike(policy=policy, k=0)
    for edit in tiny.EDITS[:2]:
        editor.apply(edit)
    read = _read(editor, tiny.EDITS[0].text)
    assert [number for number, edit in enumerate(tiny.EDITS[:2]) if f"{edit.text} {edit.target_new}" in read] == facts
    assert (_route(editor, "Nobody asks this") is None) == (policy == "retrieve")


def test_of_two_answers_to_one_prompt_the_later_counts() -> None:
    """A prompt that is edited twice is asked with its second edit, also after the memory went through safetensors."""
    editor = _ike(k=0)
    again = Edit("The capital of {} is", "Velidor", "Dorvik")
    editor.apply_many([tiny.EDITS[0], tiny.EDITS[1], again])
    other = _ike(k=0)
    other.restore(load(save(editor.state())))
    for each in (editor, other):
        assert "Dorvik" in _read(each, again.text)
        assert "Amber Bay" not in _read(each, again.text)


def test_rephrases_and_neighbors_are_not_remembered() -> None:
    """What an edit is tested on is no part of the memory."""
    plain, full = _ike(), _ike()
    plain.apply(Edit("The capital of {} is", "Velidor", "Amber Bay"))
    full.apply(
        Edit("The capital of {} is", "Velidor", "Amber Bay", "Rome", ("The main city of Velidor is",), (("a", "b"),))
    )
    assert all(torch.equal(value, full.state()[name]) for name, value in plain.state().items())


def test_names_outweigh_the_words_of_a_relation() -> None:
    """Another relation's question about the same name is nearer than the same relation's about another name."""
    asked, near, far = "The capital of Ada Zorn is", "Ada Zorn pays with the", "The capital of Bo Quin is"
    same, other = LIKENESS(asked, [near, far])
    assert same > 0.5
    assert other < 0.1
    assert LIKENESS(asked, [asked]) == pytest.approx([1.0])
    assert LIKENESS("...", [asked]) == [0.0]


def test_text_in_braces_stays_text() -> None:
    """A field's name inside an edit's words is not filled in."""
    assert fill("{fact} {target}", {"fact": "{target}", "target": "x"}) == "{target} x"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"query": "{fact}"}, "0 times {query}"),
        ({"query": "{query} {query}"}, "2 times {query}"),
        ({"query": "{query} {answer}"}, "unknown field {answer}"),
        ({"demonstration": "{color} {query}"}, "unknown field {color}"),
    ],
)
def test_templates_are_checked(changes: dict[str, Any], told: str) -> None:
    """A template without exactly one query, or with a field that there is not, is refused with those that there are."""
    with pytest.raises(HyperparameterError) as caught:
        _ike(**changes)
    assert told in str(caught.value)
    assert "{fact}, {target}, {subject}, {query}" in str(caught.value)


def test_without_other_edits_there_are_no_demonstrations() -> None:
    """No training edits: MissingTraining, unless neither demonstrations nor weights of words are needed."""
    bare = {"training": [], **tiny.settings("ike")}
    with pytest.raises(MissingTraining, match="give training=<edits>"):
        create("ike", tiny.model(), tiny.tokenizer(), **bare).apply(tiny.EDITS[0])
    free = create("ike", tiny.model(), tiny.tokenizer(), **bare | {"k": 0, "policy": "last"})
    free.apply(tiny.EDITS[0])
    assert free.state()


def test_an_edit_that_would_never_be_read_is_refused() -> None:
    """A prompt whose words weigh nothing is like no prompt, not even itself: NoEffect, and the memory is unchanged."""
    editor = _ike()
    with pytest.raises(NoEffect, match="the memory is unchanged"):
        editor.apply(Edit("??? {} ...", "!", "yes"))
    assert editor.state() == {}


def test_a_foreign_memory_is_refused() -> None:
    """Tensors of other names, or texts that are no edits: StateMismatch, and the memory is unchanged."""
    editor = _ike()
    editor.apply(tiny.EDITS[0])
    state = editor.state()
    with pytest.raises(StateMismatch, match="ike keeps its edits as texts, lengths"):
        editor.restore({"memory:points": torch.zeros(2)})
    broken = {"memory:texts": torch.tensor([65], dtype=torch.uint8), "memory:lengths": torch.tensor([1])}
    with pytest.raises(StateMismatch, match="not an edit"):
        editor.restore(broken)
    assert all(torch.equal(value, state[name]) for name, value in editor.state().items())


@few
@given(family=families, shape=st.fixed_dictionaries({"depth": st.integers(1, 2), "seed": st.integers(0, 9)}))
def test_hidden_states_can_be_the_encoder(family: str, shape: dict[str, Any]) -> None:
    """With encoder = self an edit's own prompt is found whatever the model, and no pretrained encoder is needed."""
    editor = _ike(family, shape=shape, encoder="self", threshold=0.999)
    editor.apply_many(tiny.EDITS)
    for number, edit in enumerate(tiny.EDITS):
        route = _route(editor, edit.text)
        assert route is not None
        assert route.before.entry == number
