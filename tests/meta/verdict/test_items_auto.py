"""`--items=auto` on the shipped model: blocks are the items of a limit, each is asked once, and the command says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from editgate.cases import Case
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.inputs.unedited_model import UneditedModel
from editgate.measure.prepare import count, prepare
from editgate.measure.session import EvaluationSession
from editgate.options.options import Options
from editgate.pytest_run.described import subject
from editgate.verdict.cell import evaluate_cell
from editgate.verdict.outcome import Cell, Outcome
from meta.support.settings_factory import miniature, settings

CHOSEN = {"editor": ("editgate.controls:NoOp",), "benchmarks": "toxigen", "edit_counts": "1"}


@pytest.fixture(scope="module")
def asked(store: Path) -> tuple[list[str], Cell, EvaluationSession]:
    """What was announced while a no-op was judged, its cell, and the session."""
    said: list[str] = []
    session = EvaluationSession(settings(store / "auto", items="auto", **CHOSEN), said.append)
    return said, _judged(session), session


def _judged(session: EvaluationSession) -> Cell:
    editor = next(spec for spec in session.settings.editors if spec.name in session.settings.chosen_editors)
    return evaluate_cell(session, Case(editor, miniature(session.settings), "toxigen", edits=1), order=1)


@pytest.fixture(scope="module")
def base(asked: tuple[list[str], Cell, EvaluationSession]) -> UneditedModel:
    """The unedited model."""
    session = asked[2]
    return session.model(miniature(session.settings))


def test_a_noop_passes_before_all_items_are_asked(asked: tuple[list[str], Cell, EvaluationSession]) -> None:
    """The cell says how many were asked: a look's number, not that of the pool, which holds the reserve too."""
    cell, session = asked[1], asked[2]
    assert cell.outcome is Outcome.PASS
    assert cell.items == 400
    assert session.questions.count(miniature(session.settings), "toxigen") == 1000


def test_a_second_run_asks_nothing_again(asked: tuple[list[str], Cell, EvaluationSession]) -> None:
    """Blocks are in the store: the same verdict comes without a model being asked."""
    said: list[str] = []
    again = _judged(EvaluationSession(asked[2].settings, said.append))
    assert again == asked[1]
    assert not [text for text in said if "toxigen" in text]
    assert [text for text in asked[0] if "toxigen" in text]


def test_blocks_are_the_sample_of_a_limit(base: UneditedModel) -> None:
    """The items of two blocks are those of the limit at which the second ends, none twice."""
    row = BENCHMARKS["mmlu"]
    documents = base.source.documents_of(row)

    def hashes(limit: int, after: int = 0) -> list[tuple[str, str]]:
        found = prepare(row, documents, base.tokenizer, limit, after=after)
        return [(name, item.outline.doc_hash) for name, items in found.items.items() for item in items]

    assert sorted(hashes(20) + hashes(50, after=20)) == sorted(hashes(50))
    assert len(hashes(50, after=20)) == 30
    assert (count(row, documents), count(row, documents, 50)) == (400, 50)


def test_the_report_and_the_command_say_how_items_were_asked(store: Path) -> None:
    """Known failures are not strict with fewer items, and the command that repeats a test has the option."""
    chosen = settings(store, items="auto")
    assert "in blocks until a verdict is decided" in subject(chosen, []).items
    assert "--items=auto" in Options.of({"items": "auto"}).repeated()
    editor = next(spec for spec in chosen.editors if spec.name == "rome")
    always = [
        settings(store, **given).known_failure(editor, miniature(chosen), "mmlu", 100)
        for given in ({}, {"items": "auto"})
    ]
    assert [known is not None and known.always for known in always] == [True, False]
