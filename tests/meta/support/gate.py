"""Runs the gate in a pytest of its own, in this process, as a user of the checkout would."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GATE = ROOT / "tests" / "editgate" / "gate"
EVERYTHING = ("capability", "safety", "edit_quality", "integrity")


def run_gate(pytester: pytest.Pytester, *options: str, files: tuple[str, ...] = EVERYTHING) -> pytest.RunResult:
    """Run some files of the gate with the checkout's settings, from the pytester's own directory."""
    stored = any(option.startswith("--store") for option in options)
    return pytester.runpytest_inprocess(
        *(str(GATE / f"test_{name}.py") for name in files),
        *("--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", "-p", "no:xdist"),
        *(() if stored else (f"--store={pytester.path / 'store'}",)),
        *options,
    )


def collected(result: pytest.RunResult) -> list[str]:
    """Return the ids of the tests that `--collect-only -q` listed."""
    return [line for line in result.outlines if "::" in line]
