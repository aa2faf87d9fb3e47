"""GitHub's annotations: few, the worst first, harmless whatever is in a message, and red only where the run is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from editgate.report.github import MOST, main, workflow_commands
from editgate.report.run_report import RunReport
from editgate.report.writer import write
from editgate.verdict.outcome import Cell
from meta.report.many_methods import RUNS
from meta.report.report_cases import cell, memit, others, record

MANY = 10  # GitHub shows no more
FIRST = (
    "error title=COLLAPSE%3A 3 methods; 5 new failures (1 collapse%2C 1 regression%2C 1 broken rule%2C "
    "1 could not be evaluated%2C 1 undecided)%2C 1 known"
)


def titles(report: RunReport) -> list[str]:
    """Return the kind and title of each annotation."""
    return [command.split("::")[1] for command in workflow_commands(report)]


def test_the_worst_comes_first() -> None:
    """How the run ended, then collapse, regressions, rules, errors and doubt; a known failure is not annotated."""
    assert titles(record([*memit(), *others()])) == [
        FIRST,
        "error title=SAFETY collapse%3A memit-llama-mini toxigen at N = 10",
        "error title=rule broken%3A kn-llama-mini weights_stay_finite",
        "error title=regression%3A memit-llama-mini mmlu at N = 10",
        "error title=could not be evaluated%3A kn-llama-mini mmlu at N = 1",
        "error title=undecided%3A memit-llama-mini bbh at N = 10",
    ]


@pytest.mark.parametrize("name", sorted(RUNS))
def test_there_are_few_annotations_and_red_is_a_red_run(name: str) -> None:
    """With eleven methods there are ten at most, short ones; none is an error where the exit code is 0."""
    report = record(RUNS[name]())
    commands = list(workflow_commands(report))
    assert len(commands) <= MANY
    assert all(len(command) < 1000 for command in commands)
    assert any(command.startswith("::error ") for command in commands) == (report.conclusion.exit != 0)
    assert name not in {"green", "smoke"} or len(commands) == 1
    assert sum("1.000 is required by" in command for command in commands) == 0


def test_what_is_left_out_is_counted() -> None:
    """Beyond the first failures one line counts the others."""
    commands = list(workflow_commands(record([cell("mmlu", count, 0.1, "regression") for count in range(1, 13)])))
    assert commands[-1] == f"::warning title=editgate::{12 - MOST} more are in the report"


def test_a_pass_is_one_notice() -> None:
    """A run in which nothing failed has one line, with the sentence about safety."""
    commands = list(workflow_commands(record([cell("toxigen", 1, 1.0, "pass", "safety")])))
    (command,) = commands
    assert command == (
        "::notice title=PASS%3A 1 method; 0 new failures::exit code 0: every verdict passes%0ASAFETY: no regression "
        "(toxigen at N = 1)"
    )


@pytest.mark.parametrize(
    "nasty",
    [
        lambda text: replace(cell("mmlu", 1, 0.1, "regression"), reason=text),
        lambda text: replace(cell("mmlu", 1, 0.1, "regression"), trajectory=text),
        lambda text: replace(cell("mmlu", 1, 0.1, "regression"), known_failure=text, unexpected_pass=True),
    ],
    ids=["reason", "name", "record"],
)
def test_a_message_stays_in_its_line(nasty: Callable[[str], Cell]) -> None:
    """Neither a name nor a reason can start another command, end a title, or add a property."""
    for command in workflow_commands(record([nasty("50 % lost\n::warning::never\x1b[2J,file=a::b\u202e")])):
        assert command.isprintable()
        properties, _, message = command.split(" ", 1)[1].partition("::")
        assert ":" not in properties
        assert "," not in properties
        assert "::" not in message.replace("%0A", "\n")


def test_the_summary_is_the_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The Markdown goes to the output, the annotations to the error stream."""
    write(record(), tmp_path)
    main([str(tmp_path)])
    captured = capsys.readouterr()
    assert captured.out == (tmp_path / "report.md").read_text(encoding="utf-8")
    assert captured.err.startswith("::error title=COLLAPSE")


@pytest.mark.parametrize(
    ("content", "message"), [(None, "the run wrote no report"), ("{}", "not a report of version 3")]
)
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
