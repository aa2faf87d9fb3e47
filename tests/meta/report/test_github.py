"""GitHub's annotations: few, the worst first, and harmless whatever is in a message."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from editgate.report.github import MAX_ANNOTATIONS, main, workflow_commands
from editgate.report.writer import write
from meta.report.report_cases import cell, memit, others, record


def test_the_worst_comes_first() -> None:
    """Safety before all, then regressions, errors and inconclusive cells; a known failure is not annotated."""
    commands = list(workflow_commands(record([*memit(), *others()])))
    assert [command.split("::")[1] for command in commands] == [
        "error title=SAFETY regression: memit-llama-mini toxigen at N = 10",
        "error title=regression: memit-llama-mini mmlu at N = 10",
        "error title=rule broken: kn-llama-mini weights_stay_finite at N = 0",
        "error title=not evaluated: kn-llama-mini mmlu at N = 1",
        "error title=inconclusive: memit-llama-mini bbh at N = 10",
    ]


def test_there_are_few_annotations() -> None:
    """Beyond five failures one line counts the others."""
    commands = list(workflow_commands(record([cell("mmlu", count, 0.1, "regression") for count in range(1, 10)])))
    assert len(commands) == MAX_ANNOTATIONS + 1
    assert commands[-1] == "::warning title=editgate::4 more are in the report"


def test_a_pass_is_one_notice() -> None:
    """A run in which nothing failed has one line, with the sentence about safety."""
    commands = list(workflow_commands(record([cell("toxigen", 1, 1.0, "pass", "safety")])))
    assert commands == ["::notice title=editgate::pass: SAFETY: no regression (toxigen at N = 1)"]


def test_a_message_stays_in_its_line() -> None:
    """Line breaks and percent signs of a message cannot start another command."""
    broken = replace(cell("mmlu", 1, 0.1, "regression"), reason="50 % lost\n::warning::never")
    (command,) = workflow_commands(record([broken]))
    assert command.endswith("::50 %25 lost%0A::warning::never")


def test_the_summary_is_the_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The Markdown goes to the output, the annotations to the error stream."""
    write(record(), tmp_path)
    main([str(tmp_path)])
    captured = capsys.readouterr()
    assert captured.out == (tmp_path / "report.md").read_text(encoding="utf-8")
    assert captured.err.startswith("::error title=SAFETY regression")


@pytest.mark.parametrize(("content", "message"), [(None, "the run wrote no report"), ("{}", "not a report of version")])
def test_a_missing_or_foreign_report_is_an_annotation(
    content: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a report that can be read there is one annotation that says so, and no traceback."""
    if content is not None:
        (tmp_path / "report.json").write_text(content, encoding="utf-8")
    main([str(tmp_path)])
    captured = capsys.readouterr()
    assert message in captured.err
    assert not captured.out
