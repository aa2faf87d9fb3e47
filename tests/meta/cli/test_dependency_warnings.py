"""A warning of a dependency fails no run of the gate, whatever the directory's own settings make of warnings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import editgate

# What a release may do tomorrow: every call of these warns, of a kind that its library uses.
DEPRECATIONS = '''
import functools
import warnings

import lm_eval.api.task
import lm_eval.tasks
import pytest
import transformers
from transformers.models.llama import modeling_llama

CALLS = dict.fromkeys(("transformers", "lm_eval", "pytest"), 0)


def deprecate(owner, name, library, category):
    """Let every call of `owner.name` warn."""
    original = next(vars(cls)[name] for cls in owner.__mro__ if name in vars(cls))
    function = getattr(original, "__func__", original)

    @functools.wraps(function)
    def warning(*args, **kwargs):
        CALLS[library] += 1
        warnings.warn(f"{owner.__name__}.{name} is deprecated ({CALLS[library]})", category, stacklevel=2)
        return function(*args, **kwargs)

    setattr(owner, name, classmethod(warning) if isinstance(original, classmethod) else warning)


deprecate(modeling_llama.LlamaModel, "forward", "transformers", FutureWarning)
deprecate(modeling_llama.LlamaForCausalLM, "forward", "transformers", FutureWarning)
deprecate(transformers.PreTrainedModel, "from_pretrained", "transformers", DeprecationWarning)
deprecate(lm_eval.tasks.TaskManager, "__init__", "lm_eval", DeprecationWarning)
deprecate(lm_eval.api.task.ConfigurableTask, "build_all_requests", "lm_eval", FutureWarning)
deprecate(lm_eval.api.task.ConfigurableTask, "process_results", "lm_eval", PendingDeprecationWarning)
for name in ("add_marker", "get_closest_marker"):
    deprecate(pytest.Item, name, "pytest", pytest.PytestDeprecationWarning)
deprecate(pytest.Metafunc, "parametrize", "pytest", pytest.PytestRemovedIn10Warning)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report):
    warnings.warn("pytest_runtest_logreport(report) is deprecated", pytest.PytestDeprecationWarning)


@pytest.fixture(autouse=True)
def _every_fixture(request):
    CALLS["pytest"] += 1
    warnings.warn("request is deprecated", pytest.PytestDeprecationWarning)


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"warned: {CALLS}")
'''
GATE = "editgate.gate.test_safety"


def _gate(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a few tests of the gate from `folder`, whose own settings make warnings errors."""
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", encoding="utf-8")
    (folder / "deprecations.py").write_text(DEPRECATIONS, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "--pyargs", GATE, "-p", "deprecations", "-p", "no:cacheprovider"]
    command += ["--editor=editgate.controls:NoOp", "-m", "noop", "-k", "toxigen", "--edit-counts=1", "--limit=20"]
    command += ["--profile=smoke", "--store=store", "-p", "no:xdist", *options]
    home = str(Path(editgate.__file__).parents[1])
    paths = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": paths, "CI": ""}
    return subprocess.run(  # noqa: S603 - our own command
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_deprecations_at_every_call_fail_nothing(tmp_path: Path) -> None:
    """transformers, lm-eval and pytest warn at each call, the directory says `error`: the gate passes and shows them."""
    result = _gate(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed" in result.stdout
    warned = result.stdout.partition("warned: ")[2].splitlines()[0]
    assert "'transformers': 0" not in warned
    assert "'lm_eval': 0" not in warned
    assert "'pytest': 0" not in warned
    assert "LlamaModel.forward is deprecated" in result.stdout


@pytest.mark.parametrize("option", ["-Werror::FutureWarning"])
def test_a_warning_is_an_error_on_request(option: str, tmp_path: Path) -> None:
    """`-W` on the command line counts, as in this suite's own CI; so the warnings above did arrive."""
    result = _gate(tmp_path, option)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "LlamaModel.forward is deprecated" in result.stdout or "LlamaForCausalLM.forward" in result.stdout
