"""What a hub or a file refuses is asked for once in a run, and told each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from editgate.errors import ConfigError, EvaluationError
from editgate.inputs import models
from editgate.measure import prepare as prepare_module
from editgate.measure.session import EvaluationSession
from meta.support.settings_factory import miniature, settings
from meta.support.tiny_runs import loaded


def test_documents_that_cannot_be_had_are_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second test of a benchmark gets the sentence of the first without waiting for the hub again."""
    asked: list[str] = []

    def refuse(row: object, *_: object, **__: object) -> None:
        asked.append(str(row))
        raise ConfigError("mmlu: the hub cannot be reached. Give --documents DIR.")

    monkeypatch.setattr(prepare_module, "prepare", refuse)
    monkeypatch.setattr(prepare_module, "count", refuse)
    chosen = settings(tmp_path)
    session, base = EvaluationSession(chosen, lambda _: None), loaded(tmp_path / "model")
    for _ in range(3):
        with pytest.raises(ConfigError, match="Give --documents DIR"):
            session.questions.prepared(base, "mmlu")
    assert len(asked) == 1
    with pytest.raises(ConfigError):
        session.questions.prepared(base, "bbh")
    assert len(asked) == 2
    for _ in range(2):
        with pytest.raises(ConfigError, match="Give --documents DIR"):
            session.questions.count(miniature(chosen), "mmlu")
    assert len(asked) == 3


def test_a_corpus_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it comes or not; an error of somebody else's comes back as one of ours, with its words."""
    read: list[int] = []

    def corpus() -> list[str]:
        read.append(1)
        if len(read) == 1:
            raise ConnectionError("no such host\nand a long traceback")
        return ["a text"]

    chosen = settings(tmp_path)
    base = loaded(tmp_path / "m")
    base = replace(base, tokenizer_digest=models.load_tokenizer(base.source)[1])
    monkeypatch.setattr(models, "load", lambda source, **_: replace(base, source=source))
    source = replace(base.source, corpus=corpus)
    found = EvaluationSession(chosen, lambda _: None).model(source).source
    with pytest.raises(ConnectionError):
        found.corpus()
    with pytest.raises(EvaluationError, match=r"^ConnectionError: no such host \(as before; not tried again"):
        found.corpus()
    again = EvaluationSession(chosen, lambda _: None).model(source).source
    assert again.corpus() == again.corpus() == ["a text"]
    assert len(read) == 2
