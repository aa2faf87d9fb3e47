"""What SERAC promises whatever its networks have learned, on tiny random models."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor
from transformers import PreTrainedModel

from editgate.cache.digest import digest_tensors
from editors import Edit, Editor, HyperparameterError, MissingCorpus, MissingTraining, NoEffect, create
from editors.core import training
from editors.memory.encoders import HiddenStates
from editors.memory.scope import Scope, last_segment
from editors.memory.string_tensors import pack, unpack
from editors.models.tokens import encode
from editors.serac import counterfactual
from editors.serac.counterfactual import Adapters, attach, matrices
from editors.serac.routed_model import RoutedModel
from meta.support import tiny_models as tiny

few = settings(
    max_examples=10, deadline=None, phases=(Phase.explicit, Phase.generate)
)  # shrinking trains anew each time
shapes = st.builds(
    tiny.Shape,
    family=st.sampled_from(["llama", "gpt2"]),
    width=st.sampled_from([8, 16]),
    inner=st.sampled_from([8, 16, 24]),
    tied=st.booleans(),
    seed=st.integers(0, 99),
)
ids = st.lists(st.integers(2, tiny.WORDS - 1), min_size=1, max_size=12)


def _serac(model: PreTrainedModel, **changes: object) -> Editor:
    given = {"corpus": tiny.CORPUS, "training": tiny.EDITS}
    return create("serac", model, tiny.tokenizer(), **given, **tiny.settings("serac", **changes))


def _edited(shape: tiny.Shape) -> Editor:
    editor = _serac(shape.build())
    editor.apply_many(tiny.EDITS)
    return editor


def _logits(model: object, tokens: list[int]) -> Tensor:
    found: Tensor = model(torch.tensor([tokens])).logits[0]  # type: ignore[operator]  # a model or a wrapper
    return found


@few
@given(shape=shapes, number=st.integers(0, len(tiny.EDITS) - 1))
def test_in_scope_the_counterfactual_model_reads_the_edit_first(*, shape: tiny.Shape, number: int) -> None:
    """An edited prompt's logits are those of the counterfactual model on edit and prompt with one BOS, bit for bit."""
    editor, edit = _edited(shape), tiny.EDITS[number]
    tokens = encode(tiny.tokenizer(), edit.text)
    read = encode(tiny.tokenizer(), f"{edit.text} {edit.target_new}\n") + tokens[1:]
    assert isinstance(editor.model, RoutedModel)
    (route,) = editor.model.routes([tuple(tokens)])
    assert route is not None
    with torch.no_grad():
        wanted = route.model.model(torch.tensor([read])).logits[0, -len(tokens) :]
    assert torch.equal(_logits(editor.model, tokens), wanted)


@few
@given(shape=shapes, tokens=ids, reach=st.sampled_from([0.0, 1e3]))
def test_out_of_scope_is_the_base(*, shape: tiny.Shape, tokens: list[int], reach: float) -> None:
    """A prompt whose nearest edit is too far keeps the base's logits bit for bit, and only such a one."""
    editor = _serac(shape.build())
    made = editor.prepared()
    editor.load_prepared(made | {"scope.map": made["scope.map"] * reach})
    editor.apply(tiny.EDITS[0])
    with torch.no_grad():
        base = tiny.inner(editor.model)(torch.tensor([tokens])).logits[0]
    assert torch.equal(_logits(editor.model, tokens), base) == bool(reach)


POINTS = st.integers(0, 99).map(lambda seed: torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)))


class _Table:
    """An encoder of texts that are numbers of rows."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __call__(self, texts: list[str] | tuple[str, ...]) -> Tensor:
        return self.rows[[int(text) for text in texts]]


@few
@given(points=POINTS, order=st.permutations(range(6)), query=st.integers(0, 5))
def test_the_winner_does_not_depend_on_the_order(*, points: Tensor, order: list[int], query: int) -> None:
    """Permuting the memory permutes the winner; similarities lie in (0, 1]; a stored text's own is 1."""
    tensors = {"scope.mean": torch.zeros(4), "scope.map": torch.eye(4)}
    scope = Scope(_Table(points), tensors)  # type: ignore[arg-type]  # its texts are a list
    ((entry, similarity),) = scope.nearest([str(query)], points[order])
    assert order[entry] == query
    assert similarity == 1.0
    away = Scope(_Table(points + 0.2), tensors)  # type: ignore[arg-type]  # as above
    ((entry, moved),) = away.nearest([str(query)], points[order])
    ((same, again),) = away.nearest([str(query)], points)
    assert order[entry] == same
    assert 0 < moved == again <= math.exp(-float((points[same] - points[query] - 0.2).square().sum())) * (1 + 1e-5)


@few
@given(shape=shapes, tokens=ids, seed=st.integers(0, 99))
def test_attached_additions_are_the_installed_ones(*, shape: tiny.Shape, tokens: list[int], seed: int) -> None:
    """Stored and loaded additions give the bits that they gave in training, Conv1D or Linear, and no weight changes."""
    model = shape.build().requires_grad_(requires_grad=False)
    generator = torch.Generator().manual_seed(seed)
    adapters = Adapters(model, 2, generator)
    for second in adapters.second:
        second.data.normal_(0, 0.1, generator=generator)
    before = _logits(model, tokens)
    with adapters.installed(), torch.no_grad():
        beside = _logits(model, tokens)
    weights = digest_tensors(dict(model.named_parameters()))
    attach(model, load(save(adapters.tensors())))
    assert len(adapters.matrices) == len(matrices(model)) > 2 * 3
    assert torch.equal(_logits(model, tokens), beside)
    assert digest_tensors(dict(model.named_parameters())) == weights
    assert not torch.allclose(beside, before, atol=1e-5)


@few
@given(shape=shapes, texts=st.lists(st.sampled_from([*tiny.CORPUS, "a", "", "The gate"]), min_size=2, max_size=6))
def test_features_do_not_depend_on_company(*, shape: tiny.Shape, texts: list[str]) -> None:
    """A text's features in a batch are those it has alone, to rounding: the mean over its own plain tokens."""
    model = shape.build()
    encoder = HiddenStates(model, tiny.tokenizer(), (0, 2))
    together = encoder(texts)
    alone = torch.cat([encoder([text]) for text in texts])
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        row = torch.tensor([encode(tiny.tokenizer(), tiny.CORPUS[0])])
        states = model(row, output_hidden_states=True).hidden_states
    wanted = torch.cat([states[layer][0, 1:].mean(0) for layer in (0, 2)])
    assert torch.allclose(encoder([tiny.CORPUS[0]])[0], wanted, rtol=1e-4, atol=1e-5)


@few
@given(texts=st.lists(st.text("a \n\x00é€\U0001f600\ud800", max_size=8), max_size=5))
def test_texts_survive_as_tensors(*, texts: list[str]) -> None:
    """Texts packed, put through safetensors and unpacked are the same, empty ones and lone surrogates included."""
    data, lengths = pack(texts)
    back = load(save({"data": data, "lengths": lengths}))
    assert unpack(back["data"], back["lengths"]) == texts


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("It rained at noon. Ivan was born in", "Ivan was born in"),
        ("Q: Who is he?\nA: Ivan.\n\nQ: Where is Paris?\nA:", "Q: Where is Paris?"),
        ("Which is wet?\nA. stone\nB. sea water\nAnswer:", "Which is wet?"),
        ("Ivan", "Ivan"),
        ("Answer:", "Answer:"),
        ("", ""),
    ],
)
def test_the_classifier_reads_what_is_asked(text: str, wanted: str) -> None:
    """The last sentence, without lettered options and closing cues; a text that is only a cue is read as it is."""
    assert last_segment(text) == wanted


def test_a_second_edit_of_a_prompt_replaces_the_first() -> None:
    """Of two edits of one prompt the later answers."""
    editor, prompt = _serac(tiny.model()), tiny.EDITS[0].prompt
    for target in ("Dorvik", "Amber Bay"):
        editor.apply(Edit(prompt, tiny.EDITS[0].subject, target))
    assert isinstance(editor.model, RoutedModel)
    (route,) = editor.model.routes([tuple(encode(tiny.tokenizer(), tiny.EDITS[0].text))])
    assert route is not None
    assert route.model.entry == 1
    assert editor.diagnostics() == {"entries": 2.0, "similarity": 1.0, "hits": 1.0}


def test_an_edit_that_would_never_be_asked_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """If another entry answers the edit's own prompt NoEffect says which, and the memory is as before."""
    editor = _serac(tiny.model())
    editor.apply(tiny.EDITS[0])
    state = editor.state()
    monkeypatch.setattr(Scope, "nearest", lambda _self, texts, _entries: [(0, 0.9)] * len(texts))
    with pytest.raises(NoEffect, match=r"'Marta Velen was born.* answered by entry 0 at a similarity of 0.900"):
        editor.apply(tiny.EDITS[1])
    assert editor.state().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in editor.state().items())


def test_training_needs_edits_and_texts() -> None:
    """Without training edits, or without texts that no edit is about, the error says what to give."""
    for given_, error in (({"corpus": tiny.CORPUS}, MissingTraining), ({"training": tiny.EDITS}, MissingCorpus)):
        editor = create("serac", tiny.model(), tiny.tokenizer(), **given_, **tiny.settings("serac"))
        with pytest.raises(error, match=r"give (training|corpus)="):
            editor.apply(tiny.EDITS[0])


def test_a_missing_encoder_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package sentence-transformers, asking for such an encoder says how to get it."""
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(HyperparameterError, match=r"encoder is 'mini': that needs `pip install sentence-transformers`"):
        _serac(tiny.model(), encoder="mini")


def test_a_killed_training_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in its second step, the training goes on from there and ends with what an uninterrupted one has."""
    monkeypatch.setattr(training, "SAVE_EVERY", 1)
    steps: list[int] = []
    loss = counterfactual._Loss.__call__

    def killed(self: counterfactual._Loss, step: int, generator: torch.Generator) -> Tensor:
        steps.append(step)
        if len(steps) == 2:
            raise KeyboardInterrupt
        return loss(self, step, generator)

    monkeypatch.setattr(counterfactual._Loss, "__call__", killed)
    model = tiny.model()
    given_ = {"corpus": tiny.CORPUS, "training": tiny.EDITS, **tiny.settings("serac")}
    with pytest.raises(KeyboardInterrupt):
        create("serac", model, tiny.tokenizer(), scratch=tmp_path, **given_).prepare()
    resumed = create("serac", model, tiny.tokenizer(), scratch=tmp_path, **given_).prepared()
    assert steps == [0, 1, 1]
    whole = create("serac", model, tiny.tokenizer(), **given_).prepared()
    assert all(torch.equal(value, whole[name]) for name, value in resumed.items())


def test_another_model_may_answer_beside_the_base(tmp_path: Path) -> None:
    """A model from a folder answers in scope if its vocabulary is the base's, and is refused by name if not."""
    beside = tiny.model("gpt2", seed=3)
    beside.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    editor = _serac(tiny.model(), counterfactual=str(tmp_path), counterfactual_steps=0)
    editor.apply(tiny.EDITS[0])
    tokens = encode(tiny.tokenizer(), tiny.EDITS[0].text)
    read = encode(tiny.tokenizer(), f"{tiny.EDITS[0].text} {tiny.EDITS[0].target_new}\n") + tokens[1:]
    with torch.no_grad():
        wanted = beside(torch.tensor([read])).logits[0, -len(tokens) :]
    assert torch.allclose(_logits(editor.model, tokens), wanted, atol=1e-5)
    tiny.tokenizer(bos=False).save_pretrained(tmp_path)
    beside.resize_token_embeddings(tiny.WORDS + 1)
    beside.save_pretrained(tmp_path)
    with pytest.raises(HyperparameterError, match="its vocabulary is not the base's"):
        _serac(tiny.model(), counterfactual=str(tmp_path)).prepare()
