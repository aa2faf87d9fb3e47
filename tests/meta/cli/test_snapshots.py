"""Recorded baselines: tolerance, readable drift, and nothing written where nobody looks.

The flows run in a pytest of their own, in a fresh process, as a user runs it.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from editgate.pytest_run.curve_snapshot import CurveSnapshot
from editgate.pytest_run.snapshots import ScoreSnapshot, safe_name, tidy, under_ci

ROOT = Path(__file__).parents[3]

CONFTEST = """
import pytest
from editgate.errors import ConfigError
from editgate.pytest_run.snapshots import ScoreSnapshot, refuse_update_under_ci

def pytest_configure(config):
    try:
        refuse_update_under_ci(config)
    except ConfigError as problem:
        raise pytest.UsageError(str(problem)) from problem

@pytest.fixture
def scores(snapshot):
    return snapshot.with_defaults(extension_class=ScoreSnapshot)
"""

TEST = """
from editgate.pytest_run.snapshots import assert_baseline

def test_scores(scores):
    assert_baseline(scores, {"mmlu": {"score": %s, "n": 400}, "versions": ["a", 1]})
"""

MANY = """
import pytest
from editgate.pytest_run.snapshots import assert_baseline

@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in %s])
def test_scores(scores, name):
    assert_baseline(scores, {"name": name})
    assert_baseline(scores, {"again": name})
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An empty project that has our fixture, outside CI."""
    for name in ("CI", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest(CONFTEST)
    return pytester


def run(project: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    """One run of a project with this one test file."""
    project.makepyfile(test_it=source)
    return project.runpytest_subprocess("-W", "error", "-p", "syrupy", "-p", "no:cacheprovider", *options)


def recorded(project: pytest.Pytester) -> dict[str, str]:
    """File name and content of every baseline."""
    return {path.name: path.read_text() for path in project.path.rglob("*.json")}


def drift(old: Any, new: Any, **tolerances: float) -> list[str]:  # noqa: ANN401 -- any JSON
    kind = ScoreSnapshot.with_tolerances({f"*{key}": value for key, value in tolerances.items()})
    return list(kind().diff_lines(json.dumps(new), json.dumps(old)))


def test_the_life_of_a_baseline(project: pytest.Pytester) -> None:
    """Written and failed; passed within tolerance and not rewritten; told when it drifts; updated."""
    first = run(project, TEST % 0.71)
    first.assert_outcomes(failed=1)
    first.stdout.fnmatch_lines(["*baseline written: review and commit __snapshots__/test_it/test_scores.json"])
    written = recorded(project)
    assert json.loads(written["test_scores.json"])["mmlu"] == {"n": 400, "score": 0.71}

    run(project, TEST % 0.7299, "--snapshot-update").assert_outcomes(passed=1)
    assert recorded(project) == written

    drifted = run(project, TEST % 0.52)
    drifted.assert_outcomes(failed=1)
    drifted.stdout.fnmatch_lines(
        [
            "*recorded baseline __snapshots__/test_it/test_scores.json is not what came out:",
            "*mmlu.score: baseline 0.71 -> now 0.52 (tolerance 0.02)",
            "*--snapshot-update, review, commit.",
        ]
    )
    assert recorded(project) == written

    run(project, TEST % 0.52, "--snapshot-update").assert_outcomes(passed=1)
    assert json.loads(recorded(project)["test_scores.json"])["mmlu"]["score"] == 0.52


def test_nothing_is_written_under_ci(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing baseline fails and stays missing; both update options are usage errors."""
    monkeypatch.setenv("CI", "true")
    missing = run(project, TEST % 0.71)
    missing.assert_outcomes(failed=1)
    missing.stdout.fnmatch_lines(["*no baseline recorded: __snapshots__/test_it/test_scores.json.*locally*"])
    refused = run(project, TEST % 0.71, "--snapshot-update")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["ERROR: --snapshot-update is refused under CI: *"])
    assert recorded(project) == {}


def test_names_with_slashes_do_not_meet(project: pytest.Pytester) -> None:
    """Ids that differ in signs no file name can hold, or after 255 letters, have their own files for ever."""
    names = ["a/b", "ab", "a:b", "a.b", "a%2Fb", "x" * 300, "x" * 301]
    run(project, MANY % names).assert_outcomes(failed=len(names))
    run(project, MANY % names).assert_outcomes(failed=len(names))  # the second baseline of each test
    assert len(recorded(project)) == 2 * len(names)
    full = run(project, MANY % names, "--snapshot-update")
    full.assert_outcomes(passed=len(names))
    full.stdout.fnmatch_lines([f"{2 * len(names)} snapshots passed."])
    assert len(recorded(project)) == 2 * len(names)


def test_each_kind_of_drift_has_its_line() -> None:
    """A number out of tolerance, another text, another count, a new key, a lost key, another length."""
    old = {"a": 0.5, "b": "x", "c": 400, "gone": 1, "list": [1.0, 2.0], "nested": {"k": [{"s": 0.9}]}}
    new = {"a": 0.6, "b": "y", "c": 399, "list": [1.0], "nested": {"k": [{"s": 0.8}]}, "new": {"x": None}}
    assert drift(old, new) == [
        "a: baseline 0.5 -> now 0.6 (tolerance 0.02)",
        'b: baseline "x" -> now "y"',
        "c: baseline 400 -> now 399",
        "gone: baseline 1 -> now gone",
        "list: baseline [1.0, 2.0] -> now [1.0]",
        "nested.k[0].s: baseline 0.9 -> now 0.8 (tolerance 0.02)",
        'new: not in the baseline -> now {"x": null}',
    ]


def test_tolerance_holds_at_its_edge() -> None:
    """Exactly the tolerance is within, a little more is not, in both directions."""
    assert drift(0.5, 0.52) == drift(0.5, 0.48) == []
    assert len(drift(0.5, 0.5202)) == len(drift(0.5, 0.4798)) == 1


def test_tolerance_may_differ_by_key() -> None:
    """A pattern loosens one sort of number and leaves the others strict."""
    old, new = {"mmlu": {"perplexity": 12.0, "score": 0.5}}, {"mmlu": {"perplexity": 12.4, "score": 0.53}}
    assert drift(old, new, perplexity=0.5) == ["mmlu.score: baseline 0.5 -> now 0.53 (tolerance 0.02)"]


def test_what_a_ruined_model_scores_is_not_compared() -> None:
    """Below the limit any two numbers are equal; across it, and above it, the tolerance counts."""
    sound = dict.fromkeys("abc", 1.0)  # benchmarks at which nothing is lost

    def equal(old: float, new: float, others: dict[str, float] = sound) -> bool:
        then, now = ({**{name: {"001": v} for name, v in others.items()}, "x": {"001": value}} for value in (old, new))
        return CurveSnapshot().matches(serialized_data=json.dumps(now), snapshot_data=json.dumps(then))

    assert equal(0.14, 0.59)
    assert equal(-0.2, 0.3)
    assert not equal(0.4, 0.7)
    assert not equal(0.9, 0.5)
    assert not equal(0.9, 0.75)
    assert equal(0.95, 0.9)
    assert equal(0.14, 0.77, dict.fromkeys("abc", 0.1)), "of a model that is lost altogether nothing is compared"
    assert not equal(0.14, 0.77, {"a": 0.1, "b": 0.9, "c": 0.9})
    assert not ScoreSnapshot().matches(serialized_data="0.59", snapshot_data="0.14")


@pytest.mark.parametrize("now", ["{}", '{"x": {}}', '{"x": {"001": 0.1}}', '{"x": {"001": 0.1, "005": 0.1}, "y": {}}'])
def test_a_number_of_a_ruined_model_must_be_there(now: str) -> None:
    """What is not compared is still on record: a benchmark or an N that is gone or new is told."""
    then = '{"x": {"001": 0.1, "005": 0.1}}'
    assert CurveSnapshot().matches(serialized_data=then, snapshot_data=then)
    assert not CurveSnapshot().matches(serialized_data=now, snapshot_data=then)
    assert not CurveSnapshot().matches(serialized_data=then, snapshot_data=now)


@pytest.mark.parametrize(
    ("check", "count", "now", "matches"),
    [
        ("efficacy", "001", 1.0, True),
        ("efficacy", "005", 0.8, True),
        ("efficacy", "005", 0.6, False),
        ("efficacy", "020", 0.89, False),
        ("mmlu", "005", 0.8, False),
    ],
)
def test_one_edit_may_turn_out_otherwise(check: str, count: str, now: float, matches: bool) -> None:  # noqa: FBT001
    """Of efficacy what a single edit explains is no drift, of a benchmark it is, and so is more than one edit."""
    then = {"efficacy": {"001": 0.0, "005": 1.0, "020": 1.0}, "mmlu": {"001": 1.0, "005": 1.0, "020": 1.0}}
    other = then | {check: then[check] | {count: now}}
    assert CurveSnapshot().matches(serialized_data=json.dumps(other), snapshot_data=json.dumps(then)) is matches


def test_an_installed_gate_records_below_the_root_directory(project: pytest.Pytester) -> None:
    """A baseline of a test that lies elsewhere is written where the run is, and read from there."""
    elsewhere = project.mkdir("elsewhere")
    (elsewhere / "test_it.py").write_text(TEST % 0.71, encoding="utf-8")
    (elsewhere / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    here = project.mkdir("here")
    run = ("-p", "syrupy", "-p", "no:cacheprovider", f"--rootdir={here}", str(elsewhere / "test_it.py"))
    project.runpytest_subprocess(*run).assert_outcomes(failed=1)
    assert [path.relative_to(here).as_posix() for path in project.path.rglob("*.json")] == [
        "__snapshots__/test_it/test_scores.json"
    ]
    project.runpytest_subprocess(*run).assert_outcomes(passed=1)


def test_only_floats_have_tolerance() -> None:
    """An int, a boolean or a null is equal or not, and never the same as a float."""
    assert drift(1, 1.0) == ["value: baseline 1 -> now 1.0"]
    assert len(drift(True, 1)) == len(drift(None, 0.0)) == len(drift(0.0, "0.0")) == 1  # noqa: FBT003


def test_a_number_that_is_none_never_matches_or_is_recorded() -> None:
    """NaN compares as equal to nothing, and cannot become a baseline."""
    assert drift(0.5, float("nan"))
    with pytest.raises(ValueError, match="cannot hold nan"):
        tidy({"a": [float("nan")]})
    with pytest.raises(ValueError, match="keys are text, got 1"):
        tidy({1: 0.5})


def test_recorded_floats_are_short() -> None:
    """Six digits, sorted keys and a newline at the end: diffs that a person can review."""
    assert ScoreSnapshot().serialize({"b": 1 / 3, "a": (1, 2)}) == (
        '{\n  "a": [\n    1,\n    2\n  ],\n  "b": 0.333333\n}\n'
    )


def test_a_broken_file_is_told() -> None:
    """A baseline that a merge conflict damaged is a drift with a reason, not a crash."""
    (line,) = ScoreSnapshot().diff_lines("{}", "<<<<<<<")
    assert line.startswith("the recorded baseline is not valid JSON")


def test_safe_names_are_unique_and_short() -> None:
    """Percent signs are encoded too, so that no name can imitate another's code."""
    names = ["a/b", "a%2Fb", "a:b", "ab", "ä", "x" * 500, "x" * 501]
    safe = [safe_name(name) for name in names]
    assert len(set(safe)) == len(names)
    assert all(name.isascii() and "/" not in name and len(name) < 200 for name in safe)


@pytest.mark.parametrize(("value", "ci"), [("true", True), ("1", True), ("", False), ("0", False), ("False", False)])
def test_ci_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, value: str, ci: bool) -> None:  # noqa: FBT001
    """What the usual services set counts; an empty or negative value does not."""
    monkeypatch.setenv("CI", value)
    assert under_ci() is ci
