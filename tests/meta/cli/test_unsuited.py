"""Methods that cannot take the edits as they come: told at collection in one line, with the names of those that can."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from editgate.inputs import edit_lists
from editors import names, needs_subject
from meta.support.gate import collected, run_gate

GATED = edit_lists.read(edit_lists.SHIPPED["counterfact"])[:4]
ABLE = ", ".join(name for name in names() if not needs_subject(name))
OWN = """
class Finds:
    needs_subject = True
    def __init__(self, model, tokenizer):
        self.model = model
    def apply(self, edit):
        pass


def reads(model, tokenizer, edits):
    return model
"""


def write(path: Path, *nameless: int) -> str:
    """Write four edits into a file, these of them without their subject; return the option that names it."""
    records = [edit.to_dict() for edit in GATED]
    for number in nameless:
        records[number] |= {"prompt": GATED[number].text, "subject": None}
    path.write_text(json.dumps(records), encoding="utf-8")
    return f"--edits={path}"


@pytest.fixture
def own(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with a class that needs subjects, and a function that says nothing of them."""
    pytester.makepyfile(unsuited_own=OWN)
    monkeypatch.syspath_prepend(str(pytester.path))
    return "unsuited_own"


@pytest.mark.parametrize("asked", [("-k", "rome"), ("-m", "memit"), ("--editor=pmet",), ("-k", "kn and rome or rrome")])
def test_a_method_that_needs_a_subject_is_refused(pytester: pytest.Pytester, asked: tuple[str, ...]) -> None:
    """One line counts the edits without one, has the first of them, and names the methods that need none."""
    given = write(pytester.path / "edits.json", 1, 3)
    result = run_gate(pytester, given, "--edit-counts=4", "--co", *asked, files=("capability",))
    said = " ".join(result.stderr.str().split())
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"--edits: 2 of 4 have no subject, first {GATED[1].text!r}, and " in said
    assert f"one; without: {ABLE}." in said
    assert len(result.stderr.str().strip().splitlines()) == 1


def test_only_edits_that_are_applied_count(pytester: pytest.Pytester) -> None:
    """Where the first edits have subjects, and N goes no further, every method takes them."""
    given = write(pytester.path / "edits.json", 3)
    few = run_gate(pytester, given, "--edit-counts=3", "--co", "-q", "-k", "mmlu and rome", files=("capability",))
    assert [line.partition("[")[2] for line in collected(few)] == ["rome-llama-mini-n3]", "rrome-llama-mini-n3]"]
    all_of_them = run_gate(pytester, given, "--edit-counts=4", "--co", "-k", "rome", files=("capability",))
    assert all_of_them.ret == pytest.ExitCode.USAGE_ERROR


def test_of_all_methods_those_that_need_subjects_are_left_out(pytester: pytest.Pytester) -> None:
    """The others run, and the header says once who does not."""
    given = write(pytester.path / "edits.json", 0)
    result = run_gate(pytester, given, "--edit-counts=4", "--co", "-k", "test_mmlu", files=("capability",))
    text = " ".join(result.stdout.str().split())
    runs = {name for name in names() if f"test_mmlu[{name}-llama-mini-n4]" in text}
    assert runs == {name for name in names() if not needs_subject(name)}
    left = ", ".join(name for name in names() if needs_subject(name))
    assert text.count(f"and {left} need one; without:") == 1


def test_somebody_elses_method_says_itself_whether_it_needs_one(pytester: pytest.Pytester, own: str) -> None:
    """With `needs_subject = True` it is refused at collection; without it is given what there is."""
    given = write(pytester.path / "edits.json", 0)
    options = (given, "--edit-counts=4", "--co", "-q")
    refused = run_gate(pytester, *options, f"--editor={own}:Finds", files=("capability",))
    assert "and finds needs one" in refused.stderr.str()
    taken = run_gate(pytester, *options, f"--editor={own}:reads", "-k", "mmlu", files=("capability",))
    assert [line.partition("[")[2] for line in collected(taken)] == ["reads-llama-mini-n4]"]


def test_both_are_said_at_once(pytester: pytest.Pytester) -> None:
    """A method that takes neither batches nor edits without a subject is told of both."""
    given = write(pytester.path / "edits.json", 0)
    result = run_gate(pytester, given, "--batch-size=2", "--edit-counts=4", "-k", "rome", files=("capability",))
    said = result.stderr.str()
    assert "--batch-size 2: rome takes one edit at a time" in said
    assert "1 of 4 have no subject" in said


def test_everything_is_measured_without_subjects(pytester: pytest.Pytester, store: Path) -> None:
    """A whole run of a memory on edits without subjects: rules, efficacy, paraphrase, locality and a benchmark."""
    given = write(pytester.path / "edits.json", 0, 1, 2, 3)
    options = (given, "--edit-counts=1,4", "--batch-size=1", "--edit-order=2", f"--store={store}", "--limit=20")
    wanted = ("-k", "ike and (integrity or edit_quality or toxigen)", "--inconclusive=pass")
    result = run_gate(pytester, *options, *wanted, "--report=report", "--editor=ike")
    outcome = result.parseoutcomes()
    assert not {*outcome} - {"passed", "deselected", "xfailed", "xpassed"}
    report = json.loads((pytester.path / "report" / "report.json").read_text())
    judged = {(cell["check"], cell["edits"]): cell for cell in report["cells"] if cell["area"] != "integrity"}
    assert {*judged} == {(check, n) for check in ("efficacy", "paraphrase", "locality", "toxigen") for n in (1, 4)}
    assert judged["efficacy", 4]["value"] == 1.0
