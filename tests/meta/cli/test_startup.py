"""What a command line costs before anything is measured: neither torch nor transformers nor lm-eval is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from inspect import isfunction
from pathlib import Path
from types import ModuleType

import pytest

from editgate.errors import ConfigError
from editgate.measure.integrity import CHECKPOINT_RULES, TRAJECTORY_RULES, checkpoint_rules, trajectory_rules
from editgate.pytest_run.late_imports import measuring
from editors import names
from editors.core.declared import declared_flag, declared_names
from editors.core.registry import built_in
from meta.support.gate import ROOT

HEAVY = ("torch", "transformers", "lm_eval", "datasets", "scipy", "matplotlib", "hypothesis")
MEASURING = ("transformers", "lm_eval.api")
# Each in the same process, one after the other: what one of them imports stays for all that follow.
LIGHT = {
    "help": ["--help"],
    "collecting one method": ["-k", "memit", "--collect-only", "-q"],
    "unknown model": ["--model=lama-mini"],
    "unknown editor": ["--editor=memitt"],
    "unknown module": ["--editor=nowhere.at_all:It"],
    "unknown hyperparameter": ["--editor=memit", "--editor-arg=color=1"],
    "unknown device": ["--device=tpu9"],
    "unknown edits": ["--edits=counterfakt"],
    "unknown thresholds": ["--thresholds=nowhere.toml"],
    "unknown -k": ["-k", "memmit"],
    "unknown -m": ["-m", "memmit"],
    "nothing left": ["--editor=rome", "-m", "memit"],
}
SCRIPT = """
import contextlib, io, json, sys
import pytest
found = {}
for name, arguments in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = int(pytest.main([*arguments, "-p", "no:cacheprovider", f"--store={sys.argv[2]}"]))
    found[name] = [code, [module for module in json.loads(sys.argv[3]) if module in sys.modules]]
print(json.dumps(found))
"""


def test_options_are_read_and_tests_collected_without_torch(tmp_path: Path) -> None:
    """Help, collecting and every refusal import nothing that takes seconds; and each refusal is one."""
    command = [sys.executable, "-c", SCRIPT, json.dumps(LIGHT), str(tmp_path), json.dumps(HEAVY)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)  # noqa: S603 - our own command
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {name: modules for name, (_, modules) in found.items() if modules} == {}
    refused = {name for name, (code, _) in found.items() if code == pytest.ExitCode.USAGE_ERROR}
    assert refused == {name for name in LIGHT if name.startswith(("unknown", "nothing"))}


def test_a_run_out_of_the_store_imports_neither_transformers_nor_lm_eval(tmp_path: Path) -> None:
    """The second run reads no question and loads no model, and says what the first one said, to the last digit."""
    options = ["--editor=ftl", "--edit-counts=1", "--limit=24", "-m", "not curve", "-p", "no:cacheprovider"]
    commands = {name: [*options, f"--report={tmp_path / name}"] for name in ("first", "second")}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    libraries = json.dumps([*MEASURING, "torch"])
    found: dict[str, list[object]] = {}
    for name, command in commands.items():
        run = [sys.executable, "-c", SCRIPT, json.dumps({name: command}), str(tmp_path / "store"), libraries]
        done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)  # noqa: S603 - our own command
        assert done.returncode == 0, done.stderr
        found |= json.loads(done.stdout.splitlines()[-1])
    assert found == {"first": [found["first"][0], [*MEASURING, "torch"]], "second": [found["first"][0], ["torch"]]}
    cells = [json.loads((tmp_path / name / "report.json").read_text(encoding="utf-8"))["cells"] for name in commands]
    assert cells[0] == cells[1]


@pytest.mark.parametrize("method", names())
def test_hyperparameters_are_read_off_the_source(method: str) -> None:
    """What the source declares is what the imported record has, in its order: names are refused for a right reason."""
    assert declared_names(method) == tuple(built_in(method).Hyperparameters.model_fields)


@pytest.mark.parametrize("flag", ["takes_batches", "needs_subject"])
@pytest.mark.parametrize("method", names())
def test_what_edits_a_method_takes_is_read_off_the_source(method: str, flag: str) -> None:
    """What the source of a method and of its bases declares is what the imported class has."""
    assert declared_flag(method, flag) is getattr(built_in(method), flag)


@pytest.mark.parametrize(
    ("module", "listed"), [(trajectory_rules, TRAJECTORY_RULES), (checkpoint_rules, CHECKPOINT_RULES)]
)
def test_every_rule_is_listed(module: ModuleType, listed: tuple[str, ...]) -> None:
    """A rule that is written but not in the list that tests are collected from would never be checked."""
    written = {
        name for name, value in vars(module).items() if isfunction(value) and value.__module__ == module.__name__
    }
    assert {name for name in written if not name.startswith("_")} <= {*listed} == {*module.RULES}


def test_a_torchvision_for_another_torch_is_named() -> None:
    """It breaks transformers, which then says only that a class could not be imported; other errors stay."""
    met = ModuleNotFoundError("Could not import module 'PreTrainedModel'.")
    met.__cause__ = RuntimeError("operator torchvision::nms does not exist")
    with pytest.raises(ConfigError, match="torchvision in this environment was built for another torch"), measuring():
        raise met
    with pytest.raises(ModuleNotFoundError, match="No module named 'gone'"), measuring():
        raise ModuleNotFoundError("No module named 'gone'")
