"""Lists of edits are read in every published format, and what cannot be read is named by file, record and field."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from editgate.errors import ConfigError
from editgate.inputs import edit_lists, models
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.inputs.files import document_io
from editors import Edit
from meta.support.gate import run_gate

NESTED: dict[str, Any] = {
    "case_id": 0,
    "requested_rewrite": {
        "prompt": "The mother tongue of {} is",
        "subject": "Ann Ray",
        "relation_id": "P103",
        "target_new": {"str": "English", "id": "Q1860"},
        "target_true": {"str": "French", "id": "Q150"},
    },
    "paraphrase_prompts": ["Ann Ray speaks"],
    "neighborhood_prompts": ["Bo Lee speaks"],
    "attribute_prompts": [],
    "generation_prompts": ["Ann Ray"],
}
ZSRE: dict[str, Any] = {
    "subject": "Ann Ray", "src": "What does Ann Ray speak?", "pred": "", "rephrase": "Which tongue is Ann Ray's?",
    "alt": "English", "answers": ["French"], "loc": "nq question: who is Bo", "loc_ans": "a man", "cond": "",
}  # fmt: skip
FLAT: dict[str, Any] = {
    "case_id": 1, "prompt": "Ann Ray speaks", "subject": "Ann Ray", "target_new": "English", "ground_truth": "French",
    "rephrase_prompt": "Ann Ray talks in", "locality_prompt": "Bo Lee speaks", "locality_ground_truth": "Welsh",
}  # fmt: skip
QA = {
    "id": 2, "prompt": "who is ann ray?", "target": "a nurse", "subject": "ann ray", "rephrase": "what is ann ray?",
    "locality": [{"loc": "who is bo", "loc_ans": "a man"}, {"loc": "who is cy", "loc_ans": ["a cook", "cook"]}],
}  # fmt: skip
OWN = {"prompt": "{} speaks", "subject": "Ann Ray", "target_new": "English"}


def _read(folder: Path, *records: object, name: str = "edits.json", **how: Any) -> tuple[Edit, ...]:  # noqa: ANN401
    path = folder / name
    lines = "\n".join(map(json.dumps, records)) if name.endswith("l") else json.dumps(records)
    path.write_text(lines, encoding="utf-8")
    return edit_lists.read(path, **how)


EXPECTED = {
    "nested": (
        NESTED,
        Edit("The mother tongue of {} is", "Ann Ray", "English", "French", ("Ann Ray speaks",),
             (("Bo Lee speaks", "French"),)),
    ),
    "nested, as in the multi-edit release": (
        NESTED | {"neighborhood_prompts": [{"prompt": "Bo Lee speaks", "target": "Welsh"}]},
        Edit("The mother tongue of {} is", "Ann Ray", "English", "French", ("Ann Ray speaks",),
             (("Bo Lee speaks", "Welsh"),)),
    ),
    "zsre": (
        ZSRE,
        Edit("What does {} speak?", "Ann Ray", "English", "French", ("Which tongue is Ann Ray's?",),
             (("nq question: who is Bo", "a man"),)),
    ),
    "flat": (
        FLAT,
        Edit("{} speaks", "Ann Ray", "English", "French", ("Ann Ray talks in",), (("Bo Lee speaks", "Welsh"),)),
    ),
    "flat, with groups of neighbors": (
        {k: v for k, v in FLAT.items() if not k.startswith("locality")}
        | {"ground_truth": ["<|endoftext|>"],
           "locality": {"near": {"prompt": "Bo Lee speaks", "ground_truth": ["Welsh", "Cymraeg"]},
                        "far": [{"prompt": ["A is", "B is"], "ground_truth": [["one"], ["two"]]}]}},
        Edit("{} speaks", "Ann Ray", "English", "", ("Ann Ray talks in",),
             (("Bo Lee speaks", "Welsh"), ("A is", "one"), ("B is", "two"))),
    ),
    "qa": (
        QA,
        Edit("who is {}?", "ann ray", "a nurse", "", ("what is ann ray?",),
             (("who is bo", "a man"), ("who is cy", "a cook"))),
    ),
    "own": (OWN, Edit("{} speaks", "Ann Ray", "English")),
}  # fmt: skip


@pytest.mark.parametrize("name", ["edits.json", "edits.jsonl"])
@pytest.mark.parametrize("form", EXPECTED)
def test_every_form_is_read(form: str, name: str, tmp_path: Path) -> None:
    """Each published form gives the edit it describes, as a list or one record a line."""
    record, edit = EXPECTED[form]
    assert _read(tmp_path, record, record, name=name) == (edit, edit)


def test_zsre_goes_either_way(tmp_path: Path) -> None:
    """Towards `alt` as MEND has it, records without one left out and counted; or towards the true answer."""
    records = (ZSRE, ZSRE | {"alt": ""}, {k: v for k, v in ZSRE.items() if k != "alt"})
    assert [edit.target_new for edit in _read(tmp_path, *records[:2])] == ["English"]
    assert edit_lists.describe(str(tmp_path / "edits.json")).endswith("(1 records without an 'alt' left out)")
    true = _read(tmp_path, *records, name="true.json", true_answers=True)
    assert [(edit.target_new, edit.target_true) for edit in true] == [("French", "")] * 3
    here = models.find("llama-mini")
    assert edit_lists.load(f"answers:{tmp_path / 'true.json'}", here) == true
    assert edit_lists.describe("counterfact") == "counterfact"


MALFORMED = {
    "an answer that is no text": (
        NESTED | {"requested_rewrite": NESTED["requested_rewrite"] | {"target_new": {"str": 3}}},
        "field 'str' in requested_rewrite.target_new is 3: input should be a valid string",
    ),
    "no answers": (ZSRE | {"answers": []}, r"field 'answers' is \[\]: list should have at least 1 item"),
    "answers are a text": (ZSRE | {"answers": "French"}, "field 'answers' is 'French': input should be a valid list"),
    "no alt": ({k: v for k, v in ZSRE.items() if k != "alt"}, "field 'alt' is missing"),
    "a place and no subject": ({k: v for k, v in OWN.items() if k != "subject"}, "and there is no subject"),
    "subject elsewhere": (FLAT | {"subject": "Cy"}, "does not contain the subject 'Cy'"),
    "uneven groups": (
        FLAT | {"locality": {"far": {"prompt": ["A is", "B is"], "ground_truth": ["one"]}}},
        "argument 2 is shorter",
    ),
    "not an object": ("Ann Ray", "is str, not an object"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_records_are_named(case: str, tmp_path: Path) -> None:
    """The message has the file, the record's number, the field and its value."""
    record, message = MALFORMED[case]
    with pytest.raises(ConfigError, match=rf"edits\.json: record 1.*{message}"):
        _read(tmp_path, OWN, record)


def test_a_broken_line_and_another_form_are_named(tmp_path: Path) -> None:
    """A line that is no JSON has its number; true answers are for ZsRE only; an empty list is an error."""
    path = tmp_path / "edits.jsonl"
    path.write_text(json.dumps(OWN) + "\n\n{oops\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"edits\.jsonl: record 1 \(line 3\): not JSON"):
        edit_lists.read(path)
    with pytest.raises(ConfigError, match="record 0: it is not in ZsRE's format"):
        _read(tmp_path, FLAT, true_answers=True)
    with pytest.raises(ConfigError, match="at least one record"):
        _read(tmp_path)


@pytest.mark.parametrize("name", ["counterfact", "zsre"])
def test_published_lists_are_fetched_by_hand(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a model from elsewhere a shipped list is refused in one line that says which file to fetch from where."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)  # offline the model is refused first
    url = rf"\(https://\S+{name}\S*\.json\)"
    with pytest.raises(ConfigError, match=rf"For gpt2-xl fetch the published file once {url}") as raised:
        edit_lists.load(name, models.find("gpt2-xl"))
    assert "\n" not in str(raised.value)


@pytest.mark.skipif("EDITGATE_SAMPLES" not in os.environ, reason="EDITGATE_SAMPLES names no folder of real records")
def test_samples_of_real_data_are_read() -> None:
    """Every record of the samples of CounterFact and QAEdit that lie outside this repository gives an edit."""
    folder = Path(os.environ["EDITGATE_SAMPLES"])
    assert len(edit_lists.read(folder / "counterfact-flat-600.json")) == 600
    assert len(edit_lists.read(folder / "qaedit-200.json")) == 200


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085"])
def test_a_line_of_json_ends_at_the_line_feed_only(separator: str, tmp_path: Path) -> None:
    """Other Unicode line separators occur inside strings of public files; edits and documents keep them."""
    edits, documents = tmp_path / "edits.jsonl", tmp_path / "test.jsonl"
    record = FLAT | {"prompt": f"Ann Ray{separator}speaks"}
    edits.write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    row = {"text": f"a{separator}b", "toxicity_ai": 1.0, "toxicity_human": 1.0}
    documents.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert separator in edit_lists.read(edits)[0].text
    assert document_io.read_rows(documents, BENCHMARKS["toxigen"]) == [row]


READABLE: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "with a mark of UTF-8": ("edits.json", lambda text: text.encode("utf-8-sig")),
    "in UTF-16": ("edits.json", lambda text: text.encode("utf-16")),
    "lines that are called a list": ("edits.json", lambda text: text.strip("[]").replace("}, {", "}\n{").encode()),
    "a list that is called lines": ("edits.jsonl", lambda text: text.replace("}, {", "},\n{").encode()),
    "lines of Windows": ("edits.jsonl", lambda text: text.strip("[]").replace("}, {", "}\r\n{").encode()),
}


@pytest.mark.parametrize("case", READABLE)
def test_a_list_is_read_by_what_it_holds(case: str, tmp_path: Path) -> None:
    """Neither the file's name nor the mark of its encoding keeps a list of edits from being read."""
    name, written = READABLE[case]
    (tmp_path / name).write_bytes(written(json.dumps([OWN, OWN | {"subject": "Zoë"}], ensure_ascii=False)))
    assert [edit.subject for edit in edit_lists.read(tmp_path / name)] == ["Ann Ray", "Zoë"]


UNREADABLE: dict[str, tuple[bytes, str]] = {
    "in Windows-1252": ('[\n{"prompt": "é"}]'.encode("cp1252"), r"line 2: not UTF-8 .*perhaps Windows-1252"),
    "a key given twice": (b'[{"prompt": "{} a", "subject": "b", "subject": "c"}]', "the key 'subject' stands twice"),
    "half of a character": (
        b'[{"prompt": "{} is", "subject": "\\ud83d"}]',
        r"'\\ud83d' holds half of a surrogate pair",
    ),
    "nested for ever": (b"[" * 3000, "nested too deeply"),
    "a number without end": (b"[" + b"9" * 5000 + b"]", "thousands of digits"),
    "an object that is no record": (b'{"edits": []}', "record 0: it has none of the fields"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cannot_be_read_is_said_in_one_sentence(case: str, tmp_path: Path) -> None:
    """Files that Python's own readers break on, or read in one of two ways, are refused with their name."""
    data, message = UNREADABLE[case]
    (tmp_path / "edits.json").write_bytes(data)
    with pytest.raises(ConfigError, match=rf"edits\.json.*{message}"):
        edit_lists.read(tmp_path / "edits.json")


STRANGE_FIELDS = {
    "a letter is missing": (NESTED, "paraphrase_prompts", "paraphrase_prompt", "called paraphrase_prompts"),
    "another format's name": (NESTED, "paraphrase_prompts", "rephrases", "called paraphrase_prompts"),
    "of the flat format": (FLAT, "rephrase_prompt", "paraphrase_prompts", "called rephrase_prompt"),
    "of ZsRE": (ZSRE, "loc", "locality_prompt", "called loc"),
    "a neighbor": (NESTED, "neighborhood_prompts", "neighbourhood_prompts", "called neighborhood_prompts"),
}  # fmt: skip


@pytest.mark.parametrize("case", STRANGE_FIELDS)
def test_a_field_that_was_meant_to_be_read_is_told(case: str, tmp_path: Path) -> None:
    """Of a misspelled field nothing would be measured: it is refused with the name it should have."""
    record, field, given, message = STRANGE_FIELDS[case]
    renamed = {given if name == field else name: value for name, value in record.items()}
    with pytest.raises(ConfigError, match=f"record 0: field '{given}' is not read; in this format it is {message}"):
        _read(tmp_path, renamed)


def test_records_that_repeat_or_contradict_are_told_by_both_numbers(tmp_path: Path) -> None:
    """A list that asks for two answers to one prompt cannot succeed in both: the header says so."""
    other = OWN | {"subject": "Bo Lee"}
    _read(tmp_path, OWN, other, OWN, OWN | {"target_new": "Welsh"}, other, other)
    assert edit_lists.describe(str(tmp_path / "edits.json")).endswith(
        "(record 2 repeats record 0; record 3 contradicts record 0; record 4 repeats record 1; "
        "1 more repeat or contradict one)"
    )


def test_a_single_record_is_judged(pytester: pytest.Pytester, store: Path) -> None:
    """Rules that need two edits take a spare one: a file of one record is judged like any other."""
    shipped = json.loads(edit_lists.SHIPPED["counterfact"].read_text(encoding="utf-8"))
    (pytester.path / "one.json").write_text(json.dumps(shipped[:1]), encoding="utf-8")
    result = run_gate(
        pytester, f"--store={store}", f"--edits={pytester.path / 'one.json'}", "--edit-counts=1", "--editor=ftl",
        "-k", "accumulate or leak or survives or efficacy", files=("integrity", "edit_quality"),
    )  # fmt: skip
    result.assert_outcomes(passed=4, deselected=result.parseoutcomes()["deselected"])
