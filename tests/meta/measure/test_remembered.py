"""What the store remembers of models and questions goes with every file that they are made of, and is never trusted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import pytest

from editgate.cache.digest import digest_files
from editgate.cache.store import Store
from editgate.errors import StoreError
from editgate.inference import side_by_side
from editgate.inputs import covariance_texts, models
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.inputs.documents import HubDocuments, LocalDocuments
from editgate.inputs.models import ModelSource
from editgate.inputs.unedited_model import DeferredModel
from editgate.measure import remembered
from editgate.measure.questions import questions_key
from editgate.measure.session import EvaluationSession
from meta.support.settings_factory import miniature, settings

KEPT = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


@pytest.fixture
def source(tmp_path: Path) -> ModelSource:
    """A copy of the miniature, with a copy of its documents."""
    shipped = models.find("llama-mini")
    folder, documents = tmp_path / "model", tmp_path / "documents"
    folder.mkdir()
    for name in KEPT:
        shutil.copy(Path(shipped.location) / name, folder)
    assert isinstance(shipped.documents, LocalDocuments)
    shutil.copytree(shipped.documents.folder, documents)
    return replace(shipped, location=str(folder), documents=LocalDocuments(documents))


def _identity(source: ModelSource) -> str | None:
    return remembered.identity_key(source, device="cpu", dtype="float32")


def _questions(source: ModelSource, name: str = "mmlu", tokenizer: str = "t", limit: int | None = None) -> str | None:
    return questions_key(source, BENCHMARKS[name], tokenizer, after=0, limit=limit)


@pytest.mark.parametrize("name", [*KEPT, "chat_template.jinja", "more_templates/tools.jinja"])
def test_another_file_is_another_model(source: ModelSource, name: str) -> None:
    """One byte more in anything that a model is loaded from, or a new file, and the model is loaded again."""
    before = _identity(source)
    file = Path(source.location) / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes((file.read_bytes() if file.exists() else b"") + b" ")
    assert None not in (before, _identity(source))
    assert _identity(source) != before


def test_a_model_that_lies_elsewhere_is_the_same(source: ModelSource, tmp_path: Path) -> None:
    """A copy is known; in another type or on another kind of device it is another."""
    shutil.copytree(source.location, tmp_path / "copy")
    assert _identity(replace(source, location=str(tmp_path / "copy"))) == _identity(source)
    assert remembered.identity_key(source, device="cpu", dtype="bfloat16") != _identity(source)
    cards = [remembered.identity_key(source, device=f"cuda:{number}", dtype="float32") for number in (0, 1)]
    assert cards[0] == cards[1] != _identity(source)


def _more(path: str) -> Callable[[ModelSource], None]:
    def change(source: ModelSource) -> None:
        assert isinstance(source.documents, LocalDocuments)
        file = source.documents.folder / path
        file.write_text((file.read_text(encoding="utf-8") if file.exists() else "") + "\n", encoding="utf-8")

    return change


def _a_chat_template(source: ModelSource) -> None:
    (Path(source.location) / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [_more("mmlu/geography/test.jsonl"), _more("mmlu/geography/new.jsonl"), _more("settings.toml"), _a_chat_template],
    ids=["a document", "a file", "settings", "chat template"],
)
def test_what_a_question_is_made_of_is_in_its_key(source: ModelSource, change: Callable[[ModelSource], None]) -> None:
    """A changed document, a new file, other settings or another form of a turn: the questions are read again."""
    before = _questions(source)
    change(source)
    assert None not in (before, _questions(source))
    assert _questions(source) != before


def test_other_questions_have_other_keys(source: ModelSource) -> None:
    """Another benchmark, tokenizer or limit; the weights are no part of it."""
    keys = {
        _questions(source),
        _questions(source, "bbh"),
        _questions(source, tokenizer="u"),
        _questions(source, limit=9),
    }
    assert len(keys) == 4
    (Path(source.location) / "model.safetensors").write_bytes(b"other")
    assert _questions(source) in keys


def test_what_no_file_says_is_not_remembered(source: ModelSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set of the hub, a model of the hub that may be newer there, and a model spread by the free memory."""
    assert _questions(replace(source, documents=HubDocuments())) is None
    assert remembered.identity_key(source, device="auto", dtype="float32") is None
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert models.folder_of(replace(source, location=f"{source.location}/not/unpacked/yet")) is None


def test_a_model_of_the_hub_is_known_while_the_hub_is_switched_off(
    source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it may be newer there. What is on this machine is what is loaded offline."""
    snapshot = tmp_path / "hub" / "models--some--model" / "snapshots" / "abc"
    shutil.copytree(source.location, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc", encoding="utf-8")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    of_hub = replace(source, location="some/model")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert models.folder_of(of_hub) == snapshot
    assert _identity(of_hub) == _identity(source)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert models.folder_of(of_hub) is None


def test_a_model_that_is_not_what_it_was_is_an_error(tmp_path: Path) -> None:
    """Answers of one model are never shown as another's, whatever the store says of its files."""
    chosen = settings(tmp_path / "store")
    first = EvaluationSession(chosen, lambda _: None).model(miniature(chosen))
    assert first.in_memory
    again = EvaluationSession(chosen, lambda _: None).model(miniature(chosen))
    assert isinstance(again, DeferredModel)
    assert again.tokenizer.get_vocab() == first.tokenizer.get_vocab()
    assert not again.in_memory
    assert again.identity == first.identity
    assert again.model.config.hidden_size == first.model.config.hidden_size
    assert again.in_memory
    (entry,) = (tmp_path / "store" / "identity").glob("*.json")
    chosen.store.save_json("identity", entry.stem, {**first.identity, "model": "0" * 64})
    wrong = EvaluationSession(chosen, lambda _: None).model(miniature(chosen))
    with pytest.raises(
        StoreError, match=r"llama-mini is not the model that the same files were before \(another model\)"
    ):
        _ = wrong.model
    chosen.store.save_json("identity", entry.stem, {**first.identity, "tokenizer": "0" * 64})
    wrong = EvaluationSession(chosen, lambda _: None).model(miniature(chosen))
    with pytest.raises(StoreError, match=r"\(another tokenizer\)"):
        _ = wrong.tokenizer


def test_questions_that_are_not_what_they_were_are_an_error(tmp_path: Path) -> None:
    """Nobody is asked questions whose answers would be kept under the digest of others."""
    chosen = settings(tmp_path / "store", limit=5)
    session = EvaluationSession(chosen, lambda _: None)
    base = session.model(miniature(chosen))
    right = session.questions.digest(base, "toxigen", None)
    (entry,) = (tmp_path / "store" / "questions").glob("*.json")
    assert json.loads(entry.read_text(encoding="utf-8"))["payload"] == right
    chosen.store.save_json("questions", entry.stem, "0" * 64)
    with pytest.raises(StoreError, match="toxigen: the same files gave other questions before"):
        EvaluationSession(chosen, lambda _: None).baseline(miniature(chosen), "toxigen")


def test_a_file_of_texts_is_known_without_a_model(source: ModelSource, tmp_path: Path) -> None:
    """So many tokens of one file are one corpus; more of them, or a changed file, are another. No model is loaded."""
    text = tmp_path / "text.txt"
    text.write_text("The old mill was closed at noon.\n\nThe bridge was repaired last winter.\n", encoding="utf-8")
    given = replace(source, miniature=False, corpus=_of_file(text))

    def digest(tokens: int) -> str:
        chosen = replace(settings(tmp_path / "store"), covariance_tokens=tokens)
        base = EvaluationSession(chosen, lambda _: None).model(given)
        return remembered.corpus_digest(base, chosen.store)

    first = digest(100)
    chosen = replace(settings(tmp_path / "store"), covariance_tokens=100)
    again = EvaluationSession(chosen, lambda _: None).model(given)
    assert remembered.corpus_digest(again, chosen.store) == first
    assert not again.in_memory
    assert digest(5) != first
    text.write_text("Another text.\n", encoding="utf-8")
    assert digest(100) != first


def _of_file(path: Path) -> models.MadeTexts:
    return models.MadeTexts(lambda: covariance_texts.of_file(path), lambda: digest_files(path))


def test_a_second_large_model_is_alone_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is loaded late, when something asks it, lets go of the others first, and stays itself."""
    monkeypatch.setattr(side_by_side, "is_small", lambda _: False)
    chosen = settings(tmp_path / "store")
    EvaluationSession(chosen, lambda _: None).model(models.find("pythia-mini-s"))
    session = EvaluationSession(chosen, lambda _: None)
    first, late = session.model(models.find("llama-mini")), session.model(models.find("pythia-mini-s"))
    assert (first.in_memory, late.in_memory) == (True, False)
    assert session.model(models.find("llama-mini")) is first
    assert late.model is session.model(models.find("pythia-mini-s")).model
    assert session.model(models.find("llama-mini")) is not first


def test_the_corpus_of_changed_code_is_made_again(tmp_path: Path) -> None:
    """A corpus that code makes is remembered by that code; one that was read is digested each time."""
    store, made = Store(tmp_path), iter(["a", "b", "c", "d"])
    base = EvaluationSession(settings(tmp_path / "store"), lambda _: None).model(models.find("llama-mini"))

    def digest(corpus: Callable[[], Sequence[str]]) -> str:
        return remembered.corpus_digest(replace(base, source=replace(base.source, corpus=corpus)), store)  # type: ignore[type-var]

    first = digest(models.MadeTexts(lambda: [next(made)], lambda: "code"))
    assert digest(models.MadeTexts(lambda: [next(made)], lambda: "code")) == first
    assert digest(models.MadeTexts(lambda: [next(made)], lambda: "other code")) != first
    assert digest(lambda: [next(made)]) != digest(lambda: [next(made)])
