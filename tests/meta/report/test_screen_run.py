"""The last screen of a real pytest run: what stands between the last test and the prompt, with eleven methods."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from editgate.report.presentation import HELD
from editgate.report.terminal.pytest_sections import WHOLE
from meta.report.many_methods import METHODS, ON_RECORD
from meta.report.report_cases import cell, record

PASTED = 60  # lines that people read
ADDOPTS = ["-rfEs", "-p", "no:cacheprovider", "-p", "no:xdist"]
CONFTEST = """
    import pytest

    def pytest_configure(config):
        from editgate.report.summary import NotEvaluated, Summary
        from meta.report.report_cases import SUBJECT
        config.pluginmanager.register(Summary(lambda: SUBJECT), "editgate-summary")
        config.pluginmanager.register(NotEvaluated(config), "editgate-not-evaluated")
"""
GATE = """
    import pytest
    from dataclasses import replace
    from editgate.errors import NonFiniteModel
    from editgate.verdict.outcome import Cell, Outcome, ThresholdNotMet, note, note_subject
    from meta.report.many_methods import RUNS

    def cases():
        for number, cell in enumerate(RUNS["{run}"]((1, {largest}))):
            marks = [pytest.mark.xfail(raises=ThresholdNotMet, strict=False, reason=cell.known_failure)]
            fails = cell.fails or bool(cell.known_failure and cell.outcome is not Outcome.PASS)
            yield pytest.param(replace(cell, fails=fails, known_failure=""), marks=marks if cell.known_failure else [],
                               id=f"{{cell.check}}-{{cell.trajectory}}-n{{cell.edits}}")

    @pytest.fixture
    def cell(request):
        found = request.param
        note_subject(request.node, replace(found, outcome=Outcome.NOT_EVALUATED))
        if found.outcome is Outcome.NOT_EVALUATED:
            raise NonFiniteModel("NaN in w. More about it.")
        note(request.node, found)
        return found

    @pytest.mark.parametrize("cell", list(cases()), indirect=True)
    def test_gate(cell):
        cell.raise_if_failed()
"""

FOUND = r"""
    from editgate.verdict.outcome import Cell, Outcome, note, note_finding

    def test_rule(request):
        note(request.node, Cell("x-m", "undo", 0, None, Outcome.PASS, "integrity"))
        note_finding(request.node, "AGREES: rome \x1b[2J\nkn  0.5")
"""


def run(pytester: pytest.Pytester, name: str, *options: str, largest: int = 50) -> list[str]:
    """Run tests with the cells of such a run, and return the lines from the last test on."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(GATE.format(run=name, largest=largest))
    result = pytester.runpytest_inprocess(*ADDOPTS, "--junit-xml=junit.xml", *options)
    lines = result.outlines
    last = max(i for i, line in enumerate(lines) if "[100%]" in line)
    return lines[last + 1 :]


def test_a_green_run_ends_in_one_screen(pytester: pytest.Pytester) -> None:
    """With known failures and limits that did not come, 60 lines hold all that follows the last test."""
    lines = run(pytester, "green")
    assert len(lines) <= PASTED
    heading = next(i for i, line in enumerate(lines) if "what the edits cost" in line)
    assert lines[heading + 1].startswith("PASS: 11 methods; 0 new failures, 33 known")
    assert "XPASS" not in "\n".join(lines)


def test_a_red_run_ends_in_the_same_screen(pytester: pytest.Pytester) -> None:
    """The verdict is in the last lines, after pytest's failures; of these a few are whole and the others a sentence."""
    lines = run(pytester, "red")
    heading = next(i for i, line in enumerate(lines) if "what the edits cost" in line)
    assert len(lines) - heading <= PASTED
    assert lines[heading + 1].startswith("REGRESSION: 11 methods; 121 new failures (121 regressions)")
    text = "\n".join(lines[:heading])
    assert text.count("80 items scored worse") == WHOLE
    summary = [line for line in lines if line.startswith("FAILED ")]
    assert len(summary) == 121
    sentence = r" - REGRESSION: \w+ after 50 edits of llama-mini with \w+ fell from .* is required\.$"
    assert all(re.search(sentence, line) for line in summary)  # under CI pytest does not shorten these lines
    assert len(lines[:heading]) <= 121 * 3 + 3 * 12


def test_junit_has_every_message_whole(pytester: pytest.Pytester) -> None:
    """What the screen shortens is complete in the file, each failure under its sentence; the verdict comes first."""
    run(pytester, "red")
    tree = ElementTree.parse(pytester.path / "junit.xml")  # noqa: S314 - pytest wrote it
    failures = list(tree.iter("failure"))
    assert len(failures) == 121
    assert all("80 items scored worse" in (each.text or "") for each in failures)
    assert all(str(each.get("message")).startswith("REGRESSION: ") for each in failures)
    suite = tree.find("./testsuite/properties")
    assert suite is not None
    assert [each.get("name") for each in suite] == ["conclusion", "exit code", "safety"]
    assert str(suite[0].get("value")).startswith("REGRESSION: 11 methods")


def test_verbose_shows_everything_before_the_screen(pytester: pytest.Pytester) -> None:
    """With -v every message is whole and each method has its table; the answer is still what stands last."""
    lines = run(pytester, "mixed", "-v")
    text = "\n".join(lines)
    assert text.count("80 items scored worse") == 11 + 1  # FT-L's, and KN's collapse
    assert sum(line.startswith(" N edits") for line in lines) == len(METHODS)
    verdict = next(i for i, line in enumerate(lines) if line.startswith("COLLAPSE: 11 methods"))
    assert len(lines) - verdict <= PASTED
    errors = [line for line in lines if line.startswith("ERROR test_")]
    assert len(errors) == 22
    assert all(line.endswith(" - NonFiniteModel: NaN in w.") for line in errors)


def test_a_limit_that_did_not_come_does_not_read_like_a_failure(pytester: pytest.Pytester) -> None:
    """Who asks for unexpected passes with -rX is told that they are fine, before what is on record."""
    lines = [line for line in run(pytester, "green", "-rX", largest=10) if line.startswith("XPASS")]
    assert len(lines) == 121
    assert all(f"{HELD}; on record: {ON_RECORD}" in line for line in lines)


@pytest.mark.parametrize("variable", ["NO_COLOR", "FORCE_COLOR"])
def test_colors_are_asked_for_as_everywhere(
    variable: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FORCE_COLOR colors the verdict, NO_COLOR does not; a file gets none by itself."""
    monkeypatch.delenv("PY_COLORS")  # pytester's own
    monkeypatch.setenv(variable, "1")
    text = "\n".join(run(pytester, "smoke", largest=5))
    assert ("\x1b[1;32mPASS" in text) == (variable == "FORCE_COLOR")
    assert ("\x1b" in text) == (variable == "FORCE_COLOR")


def test_what_changed_and_what_was_found_are_told_too(pytester: pytest.Pytester, tmp_path: Path) -> None:
    """A finding stands before the screen, what changed since an earlier report in it, and both are harmless."""
    (tmp_path / "old.json").write_text(record([cell("mmlu", 1, 1.0)]).model_dump_json(), encoding="utf-8")
    pytester.makeconftest(CONFTEST.replace("SUBJECT)", f"SUBJECT, earlier=Path({str(tmp_path / 'old.json')!r}))")
                          .replace("import pytest", "import pytest; from pathlib import Path", 1))  # fmt: skip
    pytester.makepyfile(FOUND)
    lines = pytester.runpytest_inprocess(*ADDOPTS).outlines
    places = [next(i for i, line in enumerate(lines) if text in line) for text in (
        "what the paper found, measured here", r"AGREES: rome \x1b[2J", "what the edits cost", "NOTHING JUDGED: ",
        "what changed since ", "only in the earlier report: 1 cell",
    )]  # fmt: skip
    assert places == sorted(places)
