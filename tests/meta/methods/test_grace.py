"""What GRACE promises: outside all balls the base answers, and a prompt's last edit is the one that counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor
from torch.nn.functional import cross_entropy

from editors import Edit, HyperparameterError, NoEffect, StateMismatch, create
from editors.grace import Grace
from editors.grace.codebook_model import CodebookModel, Replacement, changed_output, replacement_of, span
from editors.grace.value_search import ValueSearch
from editors.memory.memory_model import Tokens
from editors.models.architecture import Architecture
from editors.models.shared_queries import Queries
from editors.models.tokens import Row, encode, target_ids, target_row
from meta.golden.published_grace import PublishedCodebook
from meta.support import tiny_models as tiny

some = settings(max_examples=10, deadline=None)
REPLACEMENTS = ["replace_last", "replace_prompt", "replace_all"]
PROMPTS = ["The capital of {} is", "{} was born in", "The river of {} runs to", "People visit {}"]
TARGETS = ["Amber Bay", "Dorvik", "Greek"]
RULES: dict[str, Any] = {"layer": 1, "eps": 1.0, "n_iter": 1}


def _editor(family: str = "llama", *, tied: bool = False, seed: int = 0, linear: bool = False, **changes: Any) -> Grace:  # noqa: ANN401 - hyperparameters
    model = tiny.model(family, dtype=torch.float64, tied=tied, seed=seed)
    model = tiny.as_linear(model) if linear else model
    editor = create("grace", model, tiny.tokenizer(), **tiny.settings("grace", **changes))
    assert isinstance(editor, Grace)
    return editor


def _coded(editor: Grace) -> CodebookModel:
    model: object = editor.model
    assert isinstance(model, CodebookModel)
    return model


def _tokens(text: str) -> Tokens:
    return tuple(encode(tiny.tokenizer(), text))


def _padded(rows: Sequence[Tokens]) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])


@some
@given(family=st.sampled_from(["llama", "gpt2"]), tied=st.booleans(), order=st.permutations(range(4)))
def test_rows_do_not_see_each_other(*, family: str, tied: bool, order: list[int]) -> None:
    """Outside all balls a row is the base's bit by bit; inside it is what it is alone, but for rounding."""
    editor = _editor(family, tied=tied, n_iter=2, eps=0.01)
    editor.apply(tiny.EDITS[0])
    coded = _coded(editor)
    rows = [_tokens(tiny.EDITS[index].text + " Port") for index in order]
    ends = [len(_tokens(tiny.EDITS[index].text)) for index in order]
    with coded.reading(ends):
        together = coded(_padded(rows)).logits
    assert together is not None
    base = coded.model(_padded(rows)).logits
    for index, (row, end) in enumerate(zip(rows, ends, strict=True)):
        found = together[index, : len(row)]
        if order[index]:
            assert torch.equal(found, base[index, : len(row)])
        else:
            assert torch.allclose(found, coded.logits(row, end, 0), rtol=1e-9, atol=1e-12)
            assert not torch.allclose(found[end - 1], base[index, end - 1])


@some
@given(
    asked=st.lists(st.tuples(st.sampled_from(PROMPTS), st.sampled_from(TARGETS)), min_size=2, max_size=6),
    eps=st.sampled_from([0.01, 0.5, 3.0, 50.0]),
    family=st.sampled_from(["llama", "gpt2"]),
)
def test_the_last_edit_of_a_prompt_counts(asked: list[tuple[str, str]], eps: float, family: str) -> None:
    """The entry that answers an edited prompt holds its latest answer; at most one entry a prompt, others untouched."""
    editor = _editor(family, eps=eps, n_iter=1)
    coded = _coded(editor)
    for prompt, target in asked:
        before = coded.book
        edit = Edit(prompt, "Velidor", target)
        editor.apply(edit)
        (entry,) = coded.routes([_tokens(edit.text)])
        assert entry is not None
        label = [token for token in coded.book.labels[entry].tolist() if token >= 0]
        assert label == target_ids(tiny.tokenizer(), edit.text, target)
        assert len(coded.book) - len(before) in {0, 1}
        others = torch.arange(len(before)) != entry
        assert torch.equal(coded.book.values[: len(before)][others], before.values[others])
    assert len(coded.book) <= len({prompt for prompt, _ in asked})


@some
@given(
    family=st.sampled_from(list(tiny.CORE)),
    layer=st.integers(0, 2),
    matrix=st.sampled_from(["down", "up", "attention_out"]),
    replacement=st.sampled_from(REPLACEMENTS),
    tied=st.booleans(),
)
def test_the_search_sees_the_model_that_answers(
    *, family: str, layer: int, matrix: str, replacement: Replacement, tied: bool
) -> None:
    """The loss that is minimized, from cached states, is that of a whole forward pass with the value in place."""
    editor = _editor(family, tied=tied, layer=layer, matrix=matrix)
    prompt, target = _tokens(tiny.EDITS[0].text), [7, 50, 9]
    module, where = editor._matrix.module, span(len(prompt), replacement)
    row = target_row(Row(prompt, where.start), target)
    value = torch.randn(editor._empty.values.shape[1], generator=torch.Generator().manual_seed(1)).double()
    found = ValueSearch(editor.architecture, module, layer, row=row, target=target, where=where).loss(value)
    with changed_output(module, replacement_of(value, where)), torch.no_grad():
        whole = editor._model(input_ids=torch.tensor([[*prompt, *target]])).logits[0, len(prompt) - 1 : -1]
    assert torch.allclose(found, cross_entropy(whole, torch.tensor(target)), rtol=1e-5)


def test_models_that_cannot_be_cached_get_the_same_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where states cannot be cached, whole passes find the same value."""
    values: list[Tensor] = []
    for cached in (True, False):
        editor = _editor(layer=0)
        if not cached:
            monkeypatch.setattr("editors.models.compat.ANY_MASK_ATTENTION", ())
        editor.apply(tiny.EDITS[0])
        values.append(_coded(editor).book.values)
    assert torch.allclose(values[0], values[1], rtol=1e-9)


@pytest.mark.parametrize("replacement", REPLACEMENTS)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_is_written_is_what_is_scored(family: str, replacement: str) -> None:
    """Each token of a routed answer is the likeliest under the scores of the same route; the base says other things."""
    editor = _editor(family, replacement=replacement, n_iter=8)
    editor.apply(tiny.EDITS[0])
    coded, prompt = _coded(editor), _tokens(tiny.EDITS[0].text)
    (route,) = coded.routes([prompt])
    assert route is not None
    written = coded.continue_routed(prompt, route, 6, frozenset())
    scored = coded.logits((*prompt, *written), len(prompt), route)
    assert written == scored[len(prompt) - 1 : -1].argmax(-1).tolist()
    ids = torch.tensor([prompt])
    generate: Any = coded.model.generate  # transformers types it as a tensor's method
    base = generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False)
    assert base[0, len(prompt) :].tolist() != written
    assert coded.continue_routed(prompt, route, 6, frozenset(written[2:3])) == written[: written.index(written[2]) + 1]


@pytest.mark.parametrize("replacement", REPLACEMENTS)
def test_requery_looks_up_each_token_written(replacement: str) -> None:
    """With `requery` a token whose own input falls into a ball gets its value, also after a prompt that hit none."""
    editor = _editor(replacement=replacement, requery=True)
    editor.apply(tiny.EDITS[0])
    coded, prompt = _coded(editor), _tokens(tiny.EDITS[1].text)
    assert coded.routes([prompt]) == [-1]
    plain = coded.continue_routed(prompt, -1, 4, frozenset())
    at_second = Queries(editor.architecture, editor._matrix.module).alone((*prompt, *plain[:2]))
    value = torch.full_like(coded.book.values[0], 30.0)
    coded.book = coded.book.added(at_second, [5], value, 1e-6)
    written = coded.continue_routed(prompt, -1, 4, frozenset())
    place = slice(len(prompt) + 1, len(prompt) + 2)  # of the second token that was written
    with changed_output(editor._matrix.module, replacement_of(value, place)), torch.no_grad():
        third = int(coded.model(input_ids=torch.tensor([[*prompt, *plain[:2]]])).logits[0, -1].argmax())
    assert third != plain[2]
    assert written[:3] == [*plain[:2], plain[2] if replacement == "replace_prompt" else third]
    logits = coded.logits(prompt, len(prompt), -1)
    assert torch.equal(logits, coded.model(input_ids=torch.tensor([prompt])).logits[0])


@some
@given(family=st.sampled_from(list(tiny.CORE)), layer=st.integers(0, 2), seed=st.integers(0, 99))
def test_shared_beginnings_change_no_query(family: str, layer: int, seed: int) -> None:
    """Prompts read together, with common beginnings computed once, have the inputs that each has alone."""
    model = tiny.model(family, dtype=torch.float64)
    architecture = Architecture(model)
    matrix = architecture.down(layer).module
    drawn = torch.randint(2, tiny.WORDS, (6, 30), generator=torch.Generator().manual_seed(seed)).tolist()
    prompts = [tuple(drawn[0][: 5 + 2 * i] + drawn[i][: i % 4 + 1]) for i in range(6)]
    prompts += [tuple(drawn[4][:9]), tuple(drawn[4][:9]), tuple(drawn[5][:1])]
    found = Queries(architecture, matrix)(prompts)
    seen: list[Tensor] = []
    handle = matrix.register_forward_pre_hook(lambda _module, args: seen.append(args[0][0, -1]))
    with torch.no_grad():
        for prompt in prompts:
            model(input_ids=torch.tensor([prompt]))
    handle.remove()
    assert torch.allclose(found, torch.stack(seen), rtol=1e-4, atol=1e-5)  # GPT-J attends in float32


def test_a_query_at_a_radius_is_decided_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the rounding of a shared batch moves a query across the edge of a ball, its own pass decides."""
    editor = _editor()
    editor.apply(tiny.EDITS[0])
    coded, prompt = _coded(editor), _tokens(tiny.EDITS[1].text)
    distance = float(coded.book.nearest(editor._queries.alone(prompt)[None])[0])
    radii = torch.tensor([distance * (1 + 1e-9)], dtype=torch.float64)
    coded.book = replace(coded.book, epsilons=radii)
    outside = coded.book.keys[0] + (editor._queries.alone(prompt) - coded.book.keys[0]) * (1 + 1e-6)
    monkeypatch.setattr(Queries, "__call__", lambda _self, prompts: outside.expand(len(prompts), -1))
    assert coded.routes([prompt]) == [0]


def test_an_edit_that_would_never_fire_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the published rule a second answer to a prompt is never found: NoEffect, and the codebook is as before."""
    monkeypatch.setattr(Grace, "Book", PublishedCodebook)
    editor = _editor()
    editor.apply(tiny.EDITS[0])
    before = editor.state()
    with pytest.raises(NoEffect, match="would be answered by no entry instead of its own, 1"):
        editor.apply(Edit(tiny.EDITS[0].prompt, tiny.EDITS[0].subject, "Greek"))
    assert editor.state().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in editor.state().items())
    lone = create(
        "grace", tiny.model(), tiny.tokenizer(bos=False), **tiny.settings("grace", replacement="replace_prompt")
    )
    with pytest.raises(NoEffect, match="replaces nothing in a one-token prompt"):
        lone.apply(Edit("{}", "a", "Greek"))


def test_the_end_token_can_be_learned() -> None:
    """With `end_token` the end gets likelier after the answer, tenfold at least; it stands in the label too."""
    edit = Edit("The river of {} runs to", "Velidor", "the")
    prompt, end = _tokens(edit.text), tiny.tokenizer().eos_token_id
    answer = target_ids(tiny.tokenizer(), edit.text, edit.target_new)
    scores = []
    for learned in (True, False):
        model = tiny.model(width=64, depth=4)  # smaller ones cannot pass two answers on
        values = tiny.settings("grace", end_token=learned, n_iter=40, layer=0)
        editor = create("grace", model, tiny.tokenizer(), **values)
        assert isinstance(editor, Grace)
        editor.apply(edit)
        coded = _coded(editor)
        scores.append(coded.logits((*prompt, *answer), len(prompt), 0)[-1].log_softmax(-1)[end])
        assert coded.book.labels[0, len(prompt) :].tolist() == ([*answer, end] if learned else answer)
    assert scores[0] - scores[1] > torch.tensor(10.0).log()


def test_storage_order_does_not_matter() -> None:
    """The same function stored as Conv1D and as nn.Linear gets the same codebook."""
    books = []
    for linear in (False, True):
        editor = _editor("gpt2", matrix="up", linear=linear)
        editor.apply(tiny.EDITS[0])
        books.append(_coded(editor).book)
    assert torch.allclose(books[0].keys, books[1].keys)
    assert torch.allclose(books[0].values, books[1].values)


def test_random_starts_follow_seed_and_number() -> None:
    """Another seed starts elsewhere, and so does the next edit; a start lies in [0, 1)."""
    values: list[Tensor] = []
    for seed in (0, 1):
        editor = create(
            "grace", tiny.model(), tiny.tokenizer(), seed=seed, **tiny.settings("grace", edit_lr=1e-12, eps=1e-3)
        )
        editor.apply_many(tiny.EDITS[:2])
        values += editor.state()["memory:values"].unbind()
    assert all(bool(((value >= 0) & (value <= 1)).all()) for value in values)
    assert len({float(value[0]) for value in values}) == 4


def test_foreign_states_are_refused() -> None:
    """A codebook that lacks a part or has another model's width raises StateMismatch and changes nothing."""
    editor = _editor()
    editor.apply(tiny.EDITS[0])
    state = load(save(editor.state()))
    cases = {
        "keys are": state | {"memory:keys": state["memory:keys"][:, 1:]},
        "epsilons are missing": {name: value for name, value in state.items() if name != "memory:epsilons"},
        "contains x": state | {"memory:x": state["memory:keys"]},
    }
    for said, wrong in cases.items():
        with pytest.raises(StateMismatch, match=said):
            editor.restore(wrong)
    assert all(torch.equal(value, state[name]) for name, value in editor.state().items())


def test_a_matrix_that_is_not_there_is_named() -> None:
    """A wrong path or layer is refused with what is allowed."""
    with pytest.raises(HyperparameterError, match=r"there is no model\.layers\.1\.mlp\.c_fc here; give down, up"):
        _editor(matrix="mlp.c_fc")
    with pytest.raises(HyperparameterError, match="layer contains 9; this model has layers 0 to 2"):
        _editor(layer=9)


def test_diagnostics_count_hits() -> None:
    """After an edit the prompt itself has been asked and was a hit; another prompt is asked and is none."""
    editor = _editor(eps=0.01)
    editor.apply(tiny.EDITS[0])
    assert (editor.diagnostics()["asked"], editor.diagnostics()["hits"], editor.diagnostics()["entries"]) == (1, 1, 1)
    _coded(editor).routes([_tokens(edit.text) for edit in tiny.EDITS[:3]])
    assert (editor.diagnostics()["asked"], editor.diagnostics()["hits"]) == (4, 2)
