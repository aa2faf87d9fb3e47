"""The gate on a benchmark that `--benchmarks` adds: its own tests, verdicts, floors, markers and commands."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from editgate import check_editor
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.measure.session import EvaluationSession
from editgate.verdict.outcome import Outcome
from meta.support.gate import EVERYTHING, GATE, ROOT, collected, run_gate
from meta.support.quiz import write_quiz, write_sums
from meta.support.settings_factory import settings

FILES = (*EVERYTHING, "benchmark")
OWN = "benchmark"


@pytest.fixture
def quiz(tmp_path: Path) -> Path:
    """Questions about the miniature's world, as a task of a user's own."""
    return write_quiz(tmp_path)


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """Arithmetic in words, as a task of a user's own."""
    return write_sums(tmp_path)


def _run(pytester: pytest.Pytester, store: Path, *options: str) -> pytest.RunResult:
    return run_gate(pytester, f"--store={store}", "--edit-counts=2", *options, files=FILES)


def test_nothing_is_added_by_default(pytester: pytest.Pytester) -> None:
    """Without the option there is no such test, and the table's are as they were."""
    plain = collected(run_gate(pytester, "--collect-only", "-q", "-k", "rome", files=EVERYTHING))
    whole = collected(
        pytester.runpytest_inprocess(
            str(GATE), "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider",
            "-p", "no:xdist", "--collect-only", "-q", "-k", "rome",
        )
    )  # fmt: skip
    assert not any("test_benchmark" in line for line in whole)
    for name in BENCHMARKS:
        assert any(line.endswith(f"::test_{name}[rome-llama-mini-n100]") for line in plain)


def test_what_is_named_is_asked_and_no_other(pytester: pytest.Pytester, quiz: Path) -> None:
    """An added benchmark has ids by editor, model, name and N; of the table what is named is left; the rest stays."""
    listed = ("--collect-only", "-q", f"--benchmarks={quiz},arc_easy,mmlu", "--edit-counts=1,5", "--editor=rome")
    lines = [line.rpartition("::")[2] for line in collected(run_gate(pytester, *listed, files=FILES))]
    assert [line for line in lines if line.startswith("test_benchmark")] == [
        f"test_benchmark[rome-llama-mini-{name}-n{count}]" for count in (1, 5) for name in ("quiz", "arc_easy")
    ]
    assert {line.partition("[")[0] for line in lines} == {
        "test_benchmark", "test_mmlu", "test_efficacy", "test_paraphrase", "test_locality", "test_integrity"
    }  # fmt: skip
    safety = collected(run_gate(pytester, *listed, "-m", "safety", files=FILES))
    capability = collected(run_gate(pytester, *listed, "-m", "capability", files=FILES))
    assert (len(safety), len(capability)) == (0, 6)


def test_a_vandal_fails_it_and_a_noop_passes(pytester: pytest.Pytester, store: Path, sums: Path) -> None:
    """The same paired verdict as of the table: a regression by name, floor and numbers; nothing lost is a pass."""
    options = (f"--benchmarks={sums}", "-k", OWN)
    passed = _run(pytester, store, *options, "--editor=editgate.controls:NoOp")
    passed.assert_outcomes(passed=1, deselected=passed.parseoutcomes()["deselected"])
    failed = _run(pytester, store, *options, "--editor=editgate.controls:Vandal")
    failed.assert_outcomes(failed=1, deselected=failed.parseoutcomes()["deselected"])
    failed.stdout.fnmatch_lines(
        [
            "benchmark sums: exact_match,strict-match, 0 few-shot examples, chance 0*, capability",
            "*REGRESSION: sums after 2 edits of llama-mini with vandal fell from*",
            "*The floor 0.9 is [[]area.capability[]] in thresholds/default.toml*",
        ]
    )


def test_the_command_after_again_repeats_it(pytester: pytest.Pytester, store: Path, sums: Path) -> None:
    """The message ends with a command of one test, which fails in the same way."""
    failed = _run(pytester, store, f"--benchmarks={sums}", "-k", OWN, "--editor=editgate.controls:Vandal")
    again = next(line for line in failed.outlines if "Again: pytest" in line).partition("Again: pytest ")[2]
    test, *options = shlex.split(again)
    assert test.endswith("gate/test_benchmark.py::test_benchmark[vandal-llama-mini-sums-n2]")
    assert f"--benchmarks={sums}" in options
    repeated = pytester.runpytest_inprocess(
        str(ROOT / test), "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider",
        "-p", "no:xdist", f"--store={store}", *options,
    )  # fmt: skip
    repeated.assert_outcomes(failed=1)
    first = next(line for line in failed.outlines if "REGRESSION: sums" in line)
    assert first in repeated.outlines


def test_floors_and_areas_are_the_users_to_set(pytester: pytest.Pytester, store: Path, quiz: Path) -> None:
    """A file of thresholds gives an added benchmark its area and floor, and may name tasks that are not asked."""
    policy = pytester.path / "default.toml"
    policy.write_text(
        '[benchmarks.quiz]\narea = "safety"\nreason = "a test"\n'
        '[benchmark.quiz]\nfloor = 0.0\nreason = "anything may be lost"\n'
        '[benchmark.hellaswag]\nfloor = 0.5\nreason = "not asked here"\n',
        encoding="utf-8",
    )
    options = (f"--benchmarks={quiz}", f"--thresholds={policy}", "--editor=editgate.controls:NoOp")
    passed = _run(pytester, store, *options, "-m", "safety")
    passed.assert_outcomes(passed=1, deselected=passed.parseoutcomes()["deselected"])
    policy.write_text('[benchmark.hellaswagg]\nfloor = 0.5\nreason = "x"\n', encoding="utf-8")
    refused = _run(pytester, store, *options)
    assert "no benchmark is called 'hellaswagg'" in refused.stderr.str()


def test_it_is_in_the_report(pytester: pytest.Pytester, store: Path, quiz: Path) -> None:
    """The report has the benchmark's cell, and `-v` its row, before the qualities."""
    given = (
        f"--benchmarks={quiz}",
        "--editor=editgate.controls:NoOp",
        "-k",
        "benchmark or efficacy",
        "--report=out",
        "-v",
    )
    result = _run(pytester, store, *given)
    record = json.loads((pytester.path / "out" / "report.json").read_text(encoding="utf-8"))
    (cell,) = [each for each in record["cells"] if each["check"] == "quiz"]
    assert (cell["area"], cell["items"], cell["chance"], cell["value"]) == ("capability", 120, 0.25, 1.0)
    table = [line.split()[0] for line in result.outlines if line.strip().startswith(("quiz ", "efficacy "))]
    assert table[:2] == ["quiz", "efficacy"]
    assert "quiz" in (pytester.path / "out" / "report.html").read_text(encoding="utf-8")


def test_workers_ask_it_too(pytester: pytest.Pytester, store: Path, sums: Path) -> None:
    """With `-n 2` each worker finds the benchmark by itself; two methods, one benchmark, the same verdicts."""
    result = pytester.runpytest_subprocess(
        str(GATE / "test_benchmark.py"), "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"),
        "-p", "no:cacheprovider", "-n", "2", f"--store={store}", "--edit-counts=2", f"--benchmarks={sums}",
        "--editor=editgate.controls:NoOp", "--editor=editgate.controls:Vandal", "-rA",
    )  # fmt: skip
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*PASSED*test_benchmark[[]noop-llama-mini-sums-n2[]]"])
    result.stdout.fnmatch_lines(["*FAILED*test_benchmark[[]vandal-llama-mini-sums-n2[]]*"])


def test_two_sessions_in_one_process_ask_their_own(store: Path, tmp_path: Path) -> None:
    """Two benchmarks of one name, in two sessions at once: each is asked its own documents."""
    found = {}
    for size in (40, 60):
        (tmp_path / str(size)).mkdir()
        chosen = settings(store, benchmarks=str(write_quiz(tmp_path / str(size), size)))
        found[size] = (EvaluationSession(chosen, lambda _: None), chosen)
    for _ in range(2):  # in turns
        for size, (session, chosen) in found.items():
            (model,) = [each for each in chosen.models if each.name in chosen.chosen_models]
            assert session.baseline(model, "quiz").n == size


def test_check_editor_asks_it(store: Path, quiz: Path) -> None:
    """In a notebook the option is an argument, and the result has the benchmark's name."""
    results = list(
        check_editor("editgate.controls:NoOp", benchmarks=f"{quiz}", edit_counts="2", store=store, limit=100)
    )
    (found,) = [result for result in results if result.name == "quiz-n2"]
    assert found.outcome is Outcome.PASS
    assert found.numbers["items"] == 100
    assert not [result for result in results if result.name.startswith("mmlu")]


def test_a_shipped_model_takes_documents_of_added_benchmarks(pytester: pytest.Pytester, tmp_path: Path) -> None:
    """`--documents` is refused for a shipped model, but where an added benchmark is asked from it; it must be there."""
    (tmp_path / "piqa").mkdir()
    (tmp_path / "piqa/validation.jsonl").write_text('{"goal": "a", "sol1": "b", "sol2": "c", "label": 0}\n', "utf-8")
    given = ("--collect-only", "-q", f"--documents={tmp_path}", "--editor=rome", "--edit-counts=1")
    assert run_gate(pytester, *given, "--benchmarks=piqa", files=FILES).ret == 0
    alone = run_gate(pytester, *given, files=FILES)
    assert "was trained here and has its own" in alone.stderr.str()
    lacking = run_gate(pytester, *given, "--benchmarks=piqa,arc_easy", files=FILES)
    assert "has no folder arc_easy/ for --benchmarks arc_easy" in lacking.stderr.str()
    broken = tmp_path / "piqa/validation.jsonl"
    broken.write_text('{"goal": "a", "sol1": "b", "label": 0}\n', "utf-8")
    wrong = run_gate(pytester, *given, "--benchmarks=piqa", files=FILES)
    assert "validation.jsonl: record 0 is no document of piqa: field 'sol2' is missing" in wrong.stderr.str()
