"""One bad record among thousands is named with its number, or left out, counted and listed."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from editgate.errors import ConfigError
from editgate.inputs import edit_lengths, edit_lists, models
from editgate.options.options import Options
from editgate.options.settings import read
from editors import Edit
from meta.inputs.test_edit_lists import FLAT, NESTED, OWN, ZSRE
from meta.support.gate import run_gate

OTHER = OWN | {"subject": "Bo Lee"}
HERE = models.find("llama-mini")


def _written(folder: Path, *records: object, name: str = "edits.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def test_bad_records_are_counted_listed_and_skipped_on_request(tmp_path: Path) -> None:
    """Without the option the error has the first ones, their number and the option; with it the good ones are left."""
    bad = [OWN | {"target_new": " "}, OWN | {"subject": 3}, FLAT | {"prompt": "Nobody speaks"}, "Ann"]
    path = _written(tmp_path, OWN, *bad, OTHER)
    with pytest.raises(
        ConfigError,
        match=r"4 of 6 records hold no edit: record 1: target_new is ' '.*; record 2: "
        r"field 'subject' is 3: .*; record 3: prompt 'Nobody speaks' .*; and 1 more. --skip-bad-edits",
    ):
        edit_lists.load(str(path), HERE)
    assert [edit.subject for edit in edit_lists.load(str(path), HERE, skip_bad=True)] == ["Ann Ray", "Bo Lee"]
    assert "4 of 6 records hold no edit and are skipped" in edit_lists.describe(str(path))
    assert [line.partition(":")[0] for line in edit_lists.skipped(str(path))] == [f"record {n}" for n in (1, 2, 3, 4)]


def test_a_line_that_is_no_json_is_a_bad_record(tmp_path: Path) -> None:
    """A torn last line, or one in the middle, has its number and is skipped like any other."""
    path = tmp_path / "edits.jsonl"
    path.write_text(f"{json.dumps(OWN)}\n{{oops\n{json.dumps(OTHER)[:-4]}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"2 of 3 records hold no edit: record 1 \(line 2\): not JSON"):
        edit_lists.load(str(path), HERE)
    assert len(edit_lists.load(str(path), HERE, skip_bad=True)) == 1


def test_nothing_left_is_refused_in_one_sentence(tmp_path: Path) -> None:
    """Where all records lack the same, it is said once, and the option that would leave nothing is not offered."""
    aimless = {name: value for name, value in FLAT.items() if name != "target_new"}
    path = _written(tmp_path, *[aimless] * 200)
    for skip_bad in (False, True):
        with pytest.raises(
            ConfigError, match="record 0 and all the other 199: field 'target_new' is missing"
        ) as raised:
            edit_lists.load(str(path), HERE, skip_bad=skip_bad)
        assert edit_lists.SKIP not in str(raised.value)


def test_n_counts_only_good_records(tmp_path: Path) -> None:
    """An N beyond the good ones is refused although the file has as many records."""
    path = _written(tmp_path, OWN, "Ann", OTHER)
    options: dict[str, Any] = {"model": "llama-mini", "edits": str(path), "skip_bad_edits": True}
    chosen = read(Options.of(options | {"edit_counts": "2"}), tmp_path / "store")
    assert len(chosen.edits["llama-mini"]) == 2
    assert chosen.skipped_edits == ("record 1: it is str, not an object",)
    with pytest.raises(ConfigError, match=r"asks for 3 edits, but .* holds 2"):
        read(Options.of(options | {"edit_counts": "3"}), tmp_path / "store")
    assert "--skip-bad-edits" in Options.of(options).repeated()


def test_the_header_lists_what_is_skipped(pytester: pytest.Pytester) -> None:
    """The count stands beside the file's name and the first records below; the option takes no argument."""
    path = _written(pytester.path, OWN, *["Ann"] * 7, OTHER)
    result = run_gate(
        pytester, f"--edits={path}", "--edit-counts=2", "--editor=ftl", "--collect-only", "--skip-bad-edits",
        files=("integrity",),
    )  # fmt: skip
    result.stdout.fnmatch_lines(
        ["edits: *7 of 9 records hold no edit and are skipped*", "skipped record 1: it is str, not an object",
         "skipped 2 more; --report lists them in report.json"],
    )  # fmt: skip


NOT_AN_EDIT: dict[str, dict[str, Any]] = {
    "empty prompt": OWN | {"prompt": ""},
    "empty target": OWN | {"target_new": ""},
    "white space": OWN | {"target_new": " \n"},
    "null target": OWN | {"target_new": None},
    "number": OWN | {"target_new": 1984},
    "truth value": OWN | {"target_new": True},
    "nested list": FLAT | {"target_new": [[[]]]},
    "list of numbers": FLAT | {"target_new": [1984]},
    "null in a list": OWN | {"rephrases": [None]},
    "triple": OWN | {"neighbors": [["a", "b", "c"]]},
    "text for a list": OWN | {"neighbors": "a"},
    "null prompt": NESTED | {"requested_rewrite": NESTED["requested_rewrite"] | {"prompt": None}},
    "no rewrite": NESTED | {"requested_rewrite": None},
    "empty list of rewrites": NESTED | {"requested_rewrite": []},
    "number in ZsRE": ZSRE | {"alt": 3},
}


@pytest.mark.parametrize("case", NOT_AN_EDIT)
def test_values_that_are_no_texts_are_bad_records(case: str, tmp_path: Path) -> None:
    """Empty, blank, null, numbers and wrong nesting are named, and never become text by themselves."""
    path = _written(tmp_path, OTHER, NOT_AN_EDIT[case])
    with pytest.raises(ConfigError, match=r"edits.json: record 1: .*--skip-bad-edits"):
        edit_lists.load(str(path), HERE)
    assert len(edit_lists.load(str(path), HERE, skip_bad=True)) == 1


def test_null_and_nan_are_nothing_in_fields_that_may_be_missing(tmp_path: Path) -> None:
    """Tables written as JSON have null, or NaN, where they have nothing."""
    path = _written(tmp_path, OWN | {"target_true": None}, FLAT | {"rephrase_prompt": None, "locality": float("nan")})
    first, second = edit_lists.load(str(path), HERE)
    assert first.target_true == ""
    assert second.rephrases == ()
    with pytest.raises(ConfigError, match="field 'target_new' is None: input should be a valid string"):
        edit_lists.load(str(_written(tmp_path, OWN | {"target_new": None}, name="null.json")), HERE)


def test_ten_thousand_records_are_read_in_seconds(tmp_path: Path) -> None:
    """Reading a long list costs about 0.1 ms a record, repetitions and bad ones included."""
    many = [FLAT | {"prompt": f"Ann Ray {n} speaks"} for n in range(9_990)]
    path = _written(tmp_path, *many, *["Ann"] * 10)
    began = time.process_time()
    assert len(edit_lists.load(str(path), HERE, skip_bad=True)) == 9_990
    assert time.process_time() - began < 10


def test_braces_beside_the_subject_are_text(tmp_path: Path) -> None:
    """Where a prompt has the subject written out, `{}`, `{0}` and `%s` in it are text and stay where they are."""
    text = '{"env": {}} {0} %s Ann Ray speaks {}'
    flat, own = edit_lists.load(str(_written(tmp_path, FLAT | {"prompt": text}, OWN | {"prompt": text})), HERE)
    for edit in (flat, own):
        assert edit.text == text
        assert edit.around == ('{"env": {}} {0} %s ', " speaks {}")
        assert Edit.from_dict(edit.to_dict()) == edit


def test_a_template_keeps_its_place(tmp_path: Path) -> None:
    """CounterFact's prompt is a template: `{}` is the subject's place even where the subject stands there too."""
    rewrite = NESTED["requested_rewrite"] | {"prompt": "{}, whom Ann Ray knows, speaks"}
    (edit,) = edit_lists.load(str(_written(tmp_path, NESTED | {"requested_rewrite": rewrite})), HERE)
    assert edit.around == ("", ", whom Ann Ray knows, speaks")
    assert Edit.from_dict(edit.to_dict()) == edit


LONG = {
    "prompt": (FLAT | {"prompt": "a river " * 600 + "Ann Ray speaks"}, "the prompt with its target"),
    "target": (FLAT | {"target_new": "a river " * 600}, "the prompt with its target"),
    "rephrase": (FLAT | {"rephrase_prompt": "a river " * 600}, "a rephrase with the target"),
    "neighbor": (FLAT | {"locality_prompt": "a river " * 600}, "a neighbor with its answer"),
}


@pytest.mark.parametrize("case", LONG)
def test_an_edit_that_is_longer_than_the_context_is_told_before_the_run(case: str, tmp_path: Path) -> None:
    """The record, its tokens and the limit are named; beyond the Ns it does not matter, and it can be skipped."""
    record, what = LONG[case]
    path = _written(tmp_path, FLAT, record, FLAT | {"prompt": "Ann Ray says"})
    options: dict[str, Any] = {"model": "llama-mini", "edits": str(path), "edit_counts": "2"}
    wanted = rf"record 1: {what} is 1\d\d\d tokens, and the context of llama-mini holds \d+\. --skip-bad-edits"
    with pytest.raises(ConfigError, match=wanted):
        read(Options.of(options), tmp_path / "store")
    assert read(Options.of(options | {"edit_counts": "1"}), tmp_path / "store").skipped_edits == ()
    chosen = read(Options.of(options | {"skip_bad_edits": True}), tmp_path / "store")
    assert [edit.text for edit in chosen.edits["llama-mini"]] == ["Ann Ray speaks", "Ann Ray says"]
    assert chosen.skipped_edits[0].startswith("record 1: ")


def test_a_target_that_is_called_true_already_is_told(tmp_path: Path) -> None:
    """It is an edit, and no change: the header says how many and which is the first."""
    path = _written(tmp_path, OTHER, OWN | {"target_true": " English "})
    assert edit_lists.describe(str(path)).endswith("(1 ask for the answer that they call true, first record 1)")


def test_a_target_that_is_no_target_new_does_not_win(tmp_path: Path) -> None:
    """`target` is QAEdit's name for the new answer; beside `target_new` it is not read for it."""
    path = _written(tmp_path, OWN | {"target": "Welsh"})
    with pytest.raises(ConfigError, match="target"):
        edit_lists.load(str(path), HERE)


@pytest.mark.parametrize("name", ["paraphrases", "neighborhood", "target_old", "answers"])
def test_a_field_that_would_not_be_measured_is_refused(tmp_path: Path, name: str) -> None:
    """Beside the suite's own fields any other name is an error, but for a record's number."""
    path = _written(tmp_path, OWN | {name: ["Ann Ray talks in"]})
    with pytest.raises(ConfigError, match=name):
        edit_lists.load(str(path), HERE)
    numbered = _written(tmp_path, OWN | {"id": 3, "case_id": "x"}, name="numbered.json")
    assert len(edit_lists.load(str(numbered), HERE)) == 1


def test_what_fits_does_not_depend_on_an_earlier_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of a GGUF file is read from its unpacked model, which is unpacked for that, and only for long texts."""
    unpacked: list[str] = []
    monkeypatch.setattr(models, "unpack", lambda source: unpacked.append(source.name))
    source = replace(HERE, name="mine", file=tmp_path / "mine.gguf", location=str(tmp_path))
    edit = Edit("{} speaks", "Ann Ray", "English")
    assert edit_lengths.too_long({"record 0": edit}, source) == {}
    assert unpacked == []
    edit_lengths.too_long({"record 0": replace(edit, prompt=f"{'so ' * 400}{{}} speaks")}, source)
    assert unpacked == ["mine"]
