"""What `--shard` refuses, in one line, before anything is loaded; and that it leaves a report alone."""

from __future__ import annotations

import pytest

from meta.support.gate import GATE, ROOT, run_gate


@pytest.mark.parametrize("given", ["17/16", "0/4", "-1/4", "3", "1/0", "a/b", "1/2/3", "²/4", "3/ 16"])
def test_a_shard_that_there_is_not_is_a_usage_error(pytester: pytest.Pytester, given: str) -> None:
    """One line with the value and what is allowed; no store is made."""
    result = run_gate(pytester, f"--shard={given}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = (line for line in result.errlines if "--shard" in line)
    assert given in line
    assert "Allowed: " in line
    assert not (pytester.path / "store").exists()


@pytest.mark.parametrize(
    ("option", "why"),
    [("--compare=old.json", "judges nothing"), ("--snapshot-update", "judges nothing"), ("-n2", "one process a shard")],
)
def test_what_means_nothing_to_a_shard_is_refused(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, option: str, why: str
) -> None:
    """An option that only a judging run, or a run of several workers, could follow."""
    monkeypatch.delenv("CI", raising=False)
    (pytester.path / "old.json").write_text("{}", encoding="utf-8")
    result = pytester.runpytest_inprocess(
        str(GATE / "test_safety.py"),
        *("--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"),
        *(f"--store={pytester.path / 'store'}", "--shard=1/2", option),
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert any("--shard 1/2 with " in line and why in line for line in result.errlines), result.errlines


def test_a_shard_that_is_refused_leaves_a_report_alone(pytester: pytest.Pytester) -> None:
    """The report in the folder is that of a run that judged, and stays."""
    folder = pytester.path / "report"
    folder.mkdir()
    (folder / "report.json").write_text("{}", encoding="utf-8")
    run_gate(pytester, "--report=report", "--shard=5/4")
    run_gate(pytester, "--report=report", "--shard=1/4", "--collect-only", "-q", files=("safety",))
    assert (folder / "report.json").read_text(encoding="utf-8") == "{}"
