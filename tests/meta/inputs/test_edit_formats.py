"""Formats that other libraries publish: each gives its edits, or one sentence that says what is missing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from editgate.errors import ConfigError
from editgate.inputs import edit_lists
from editors import Edit
from meta.inputs.test_edit_lists import FLAT, NESTED, OWN, QA, ZSRE
from meta.support.gate import ROOT

NOTEBOOK: dict[str, Any] = {
    "prompt": "{} plays the sport of", "subject": "LeBron James", "target_new": {"str": "football"},
}  # fmt: skip
WIKI_BIG_EDIT: dict[str, Any] = {
    "tag": "Ann Ray_occupation", "subject": "Ann Ray", "update": "What is Ann Ray's work?", "ans": "nurse",
    "rephrase": "What does Ann Ray do?", "personas": "Yo, what's Ann Ray's job?", "mhop": "Who works where Ann works?",
    "mhop_ans": "Bo", "loc": "Who is Bo?", "loc_ans": "a man",
}  # fmt: skip
ULTRA: dict[str, Any] = {
    "prompt": "What is Ann Ray's work?", "subject": "Ann Ray", "rephrase_prompt": "What does Ann Ray do?",
    "ans": "nurse", "loc": "Who is Bo?", "loc_ans": "a man",
}  # fmt: skip
REWRITE = {
    "prompt": "{} is a citizen of", "relation_id": "P27", "subject": "Ann Ray", "question": "Where is Ann Ray from?",
    "target_new": {"str": "Wales", "id": "Q25"}, "target_true": {"str": "France", "id": "Q142"},
}  # fmt: skip
MQUAKE: dict[str, Any] = {
    "case_id": 1, "requested_rewrite": [REWRITE, REWRITE | {"subject": "Bo Lee", "question": "Where is Bo Lee from?"}],
    "questions": ["Which language is spoken where Ann Ray is from?"], "answer": "French", "new_answer": "Welsh",
}  # fmt: skip
FEVER: dict[str, Any] = {
    "id": 3, "input": "Ann Ray was born in Rome.", "prediction": "SUPPORTS", "alternatives": ["REFUTES"],
    "filtered_rephrases": ["Ann Ray was born in Rome.", "Rome is where Ann Ray was born."], "logit": -0.1,
    "output": [{"answer": "SUPPORTS", "provenance": [{"title": "Ann Ray"}]}],
}  # fmt: skip
READ: dict[str, tuple[dict[str, Any], list[Edit]]] = {
    "MEMIT's notebook": (NOTEBOOK, [Edit("{} plays the sport of", "LeBron James", "football")]),
    "with the true answer": (
        NOTEBOOK | {"target_true": {"str": "basketball"}, "relation_id": "P641"},
        [Edit("{} plays the sport of", "LeBron James", "football", "basketball")],
    ),
    "WikiBigEdit": (
        WIKI_BIG_EDIT,
        [Edit("What is {}'s work?", "Ann Ray", "nurse", "",
              ("What does Ann Ray do?", "Yo, what's Ann Ray's job?"), (("Who is Bo?", "a man"),))],
    ),
    "WikiBigEdit with nothing in places": (
        WIKI_BIG_EDIT | {"personas": float("nan"), "mhop": None, "loc": None, "loc_ans": None},
        [Edit("What is {}'s work?", "Ann Ray", "nurse", "", ("What does Ann Ray do?",))],
    ),
    "UltraEditBench": (
        ULTRA,
        [Edit("What is {}'s work?", "Ann Ray", "nurse", "", ("What does Ann Ray do?",), (("Who is Bo?", "a man"),))],
    ),
    "MQuAKE": (
        MQUAKE,
        [
            Edit("{} is a citizen of", who, "Wales", "France", (f"Where is {who} from?",))
            for who in ("Ann Ray", "Bo Lee")
        ],
    ),
    "FEVER with a subject": (
        FEVER | {"subject": "Ann Ray"},
        [Edit("{} was born in Rome.", "Ann Ray", "REFUTES", "SUPPORTS", ("Rome is where Ann Ray was born.",))],
    ),
    "our own with an id": (OWN | {"id": 7, "case_id": 3}, [Edit("{} speaks", "Ann Ray", "English")]),
}  # fmt: skip


def _read(folder: Path, *records: object) -> tuple[Edit, ...]:
    (folder / "edits.json").write_text(json.dumps(records), encoding="utf-8")
    return edit_lists.read(folder / "edits.json")


@pytest.mark.parametrize("case", READ)
def test_each_format_gives_its_edits(case: str, tmp_path: Path) -> None:
    """Prompt, subject, answers and questions stand where they belong."""
    record, edits = READ[case]
    assert list(_read(tmp_path, record)) == edits


EXAMPLES = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "edits.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_documented_examples_are_read(example: str, tmp_path: Path) -> None:
    """Each form that docs/edits.md shows gives an edit."""
    assert _read(tmp_path, json.loads(example))


WITHOUT_SUBJECT = {
    "UltraEditBench": {name: value for name, value in ULTRA.items() if name != "subject"},
    "FEVER": FEVER,
    "WikiBigEdit": WIKI_BIG_EDIT | {"subject": None},
    "flat": FLAT | {"subject": ""},
    "ZsRE": ZSRE | {"subject": None},
    "QAEdit": QA | {"subject": None},
    "our own": {"prompt": "Ann Ray speaks", "target_new": "English"},
}


@pytest.mark.parametrize("case", WITHOUT_SUBJECT)
def test_without_its_subject_a_record_asks_the_same(case: str, tmp_path: Path) -> None:
    """Missing, null or empty: the prompt is the text with the subject in its place, and all else is as with it."""
    record = WITHOUT_SUBJECT[case]
    (nameless,) = _read(tmp_path, record)
    (named,) = _read(tmp_path, record | {"subject": "ann ray" if case == "QAEdit" else "Ann Ray"})
    assert nameless == replace(named, prompt=named.text, subject=None)
    assert nameless.subject is None


@pytest.mark.parametrize("record", [NESTED, NOTEBOOK, MQUAKE], ids=["CounterFact", "MEMIT", "MQuAKE"])
def test_a_template_needs_its_subject(record: dict[str, Any], tmp_path: Path) -> None:
    """A prompt with a place for the subject says nothing without one."""
    bare = json.loads(json.dumps(record), object_hook=lambda found: {k: v for k, v in found.items() if k != "subject"})
    with pytest.raises(ConfigError, match=r"record 0.*field 'subject'.* is missing"):
        _read(tmp_path, bare)


def test_questions_that_are_not_asked_are_told(tmp_path: Path) -> None:
    """What follows from an edit in several steps is not measured, and the header says so."""
    _read(tmp_path, MQUAKE)
    assert edit_lists.describe(str(tmp_path / "edits.json")).endswith("(the questions in questions are not asked)")


def test_repetitions_within_a_record_have_both_numbers(tmp_path: Path) -> None:
    """A record of several edits has a number for each, and a contradiction names both."""
    other = REWRITE | {"target_new": {"str": "Spain"}}
    _read(tmp_path, MQUAKE | {"questions": [], "requested_rewrite": [REWRITE, other]})
    assert "record 0, rewrite 1 contradicts record 0, rewrite 0" in edit_lists.describe(str(tmp_path / "edits.json"))


@pytest.mark.parametrize("field", ["rephrase_prompt", "locality_prompt", "rephrases"])
def test_questions_beside_a_request_are_never_left_out_in_silence(field: str, tmp_path: Path) -> None:
    """MEMIT's form has no questions: with some of another format beside it, the record is named."""
    with pytest.raises(ConfigError, match="record 0: field 'target_new' is"):
        _read(tmp_path, NOTEBOOK | {field: "Who is he?"})
