"""What README offers after its own installation does not need the extra `dev`, which that leaves out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from editgate.plugin import SETTINGS
from editgate.pytest_run import selection
from meta.support.gate import ROOT


@pytest.mark.parametrize(("missing", "left_out"), [((), False), (("hypothesis",), True), (("pytest_benchmark",), True)])
def test_the_suites_own_tests_are_left_out_where_they_cannot_be_imported(
    missing: tuple[str, ...],
    left_out: bool,  # noqa: FBT001
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`pytest -m safety` names no editor; it must not end in the import errors of tests that it is not about."""
    monkeypatch.setattr(selection, "find_spec", lambda name: None if name in missing else object())
    option = SimpleNamespace(keyword="", markexpr="safety")
    config: Any = SimpleNamespace(option=option, rootpath=ROOT, args_source=pytest.Config.ArgsSource.TESTPATHS)
    settings = request.config.stash[SETTINGS]
    assert selection.is_left_out(ROOT / "tests" / "meta", config, settings) is left_out
