"""Whatever is selected, the exit code is that of the verdicts: the baselines of all else are deselected, not unused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

import editors
from editgate.measure.session import EvaluationSession
from editgate.pytest_run.snapshots import ScoreSnapshot, safe_name
from editors.core.registry import EXTRAS
from meta.support.gate import GATE, ROOT, run_gate

BASELINES = GATE / "__snapshots__" / "test_baselines"
SELECTIONS = {  # the first three without a path, as people run it from the root directory
    "a benchmark of one editor": ("-k", "baseline and gsm8k", "--editor=serac", "--profile=smoke"),
    "a benchmark": ("-k", "baseline and toxigen and not chat", "--editor=rome"),
    "everything of one model": ("-k", "test_baseline", "--model=gpt2-mini", "--editor=rome"),
    "one file": (str(GATE / "test_baselines.py"), "-k", "gsm8k"),
    "one folder": (str(GATE), "-k", "baseline and gsm8k"),
    "one test": (f"{GATE / 'test_baselines.py'}::test_baseline[llama-mini-gsm8k]",),
    "everything collected": (str(GATE / "test_baselines.py"), "--profile=nightly"),
}


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every model answer as it is on record, without a model, and where people record baselines: outside CI."""
    monkeypatch.delenv("CI", raising=False)

    def read(model: str, benchmark: str) -> SimpleNamespace:
        found = json.loads((BASELINES / f"test_baseline[{model}-{benchmark}].json").read_text(encoding="utf-8"))
        return SimpleNamespace(
            identity={"model": found["model"]}, metric=found["metric"], n=found["items"], chance=found["chance"],
            score=found["score"], parse_failures=found["unparsed"] * found["items"],
            empty=found["empty"] * found["items"],
        )  # fmt: skip

    monkeypatch.setattr(EvaluationSession, "baseline", lambda _, model, benchmark: read(model.name, benchmark))
    monkeypatch.setattr(EvaluationSession, "model", lambda _, model: read(model.name, "gsm8k"))


@pytest.mark.parametrize("update", [False, True], ids=["run", "update"])
@pytest.mark.parametrize("case", sorted(SELECTIONS))
def test_only_verdicts_decide(
    case: str,
    update: bool,  # noqa: FBT001
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No selection makes a green run end with 1, advises to delete, or deletes when baselines are updated."""
    deleted: list[object] = []
    monkeypatch.setattr(ScoreSnapshot, "delete_snapshots", lambda **arguments: deleted.append(arguments))
    monkeypatch.chdir(ROOT)
    given = (*SELECTIONS[case], *(["--snapshot-update"] if update else []), f"--store={pytester.path / 'store'}")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", *given)
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    assert deleted == []
    shown = result.stdout.str() + result.stderr.str()
    assert "unused" not in shown
    assert "Re-run" not in shown
    assert "recommended" not in shown


def test_a_baseline_that_is_not_what_came_out_still_fails(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is not simply 0: a drift beyond the tolerance fails, and its advice names the one test."""
    honest = EvaluationSession.baseline

    def worse(session: EvaluationSession, model: object, benchmark: str) -> object:
        found: SimpleNamespace = honest(session, model, benchmark)  # type: ignore[assignment, arg-type]
        return SimpleNamespace(**{**vars(found), "score": found.score - 0.1})

    monkeypatch.setattr(EvaluationSession, "baseline", worse)
    monkeypatch.setenv("CI", "true")
    result = run_gate(pytester, "-k", "gsm8k", files=("baselines",))
    result.assert_outcomes(failed=1, deselected=result.parseoutcomes()["deselected"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_every_recorded_file_belongs_to_a_test(pytester: pytest.Pytester) -> None:
    """What syrupy no longer tells: a baseline or curve whose test is gone is told here.

    That of a method whose package is not installed here has its test elsewhere.
    """
    names = set[str]()
    for options in ([], ["--batch-size=10"], ["--batch-size=100"]):  # as the nightly runs ask
        given = ("--collect-only", "-q", "--profile=nightly", *options)
        result = run_gate(pytester, *given, files=("baselines", "curves"))
        names |= {f"{safe_name(line.rpartition('::')[2])}.json" for line in result.outlines if "::" in line}
    elsewhere = tuple(f"test_curve[{name}-" for name in EXTRAS.keys() - editors.names())
    files = {file.name for file in (GATE / "__snapshots__").rglob("*.json") if not file.name.startswith(elsewhere)}
    assert files
    assert files <= names
