"""The examples of the documents run: those of CONTRIBUTING in a copy of this repository, the README's Python here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from editgate import checks
from editgate.controls import NoOp
from editgate.verdict.outcome import Outcome
from editors.core.weights import same_bits
from meta.docs import markdown
from meta.docs.blocks import Block
from meta.docs.pages import BLOCKS, TEXTS
from meta.docs.places import EXAMPLE
from meta.support.gate import ROOT
from meta.workflows.actions import STAND_INS
from meta.workflows.runner import Machine, run_workflow

README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = markdown.file_blocks((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
COPIED = ("editors", "thresholds", "tests/editgate", "tests/meta")
SELECTED = "test_nudge or test_starcoder2 or (test_contract and nudge) or (nudge and (efficacy or piqa))"


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest prints about CONTRIBUTING's examples, each in its file of a copy of this repository."""
    copy = tmp_path_factory.mktemp("copy")
    for name in COPIED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "weights", "golden"))
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, copy / name)
    weights = "tests/editgate/miniature/weights"
    (copy / weights).symlink_to(ROOT / weights, target_is_directory=True)
    for block in EXAMPLES:
        block.write_into(copy)
    files = {block.file for block in EXAMPLES if "/test_" in block.file}
    gate = "tests/editgate/gate/test_edit_quality.py"
    chosen = [*sorted(files), "tests/meta/editors/test_contract.py", gate, "-k", SELECTED]
    options = ["-rA", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=line", "--edit-counts=1"]
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "pytest", *chosen, *options],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": f"{copy / 'tests'}{os.pathsep}{copy}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_the_example_of_a_method_keeps_the_contract(printed: str) -> None:
    """The new file in `editors/` is found, passes the contract's tests and its own."""
    test = "test_contract.py::test_edits_accumulate_and_undo_is_bit_exact[nudge-llama]"
    assert f"PASSED tests/meta/editors/{test}" in printed, printed
    assert "PASSED tests/meta/methods/test_nudge.py::" in printed, printed
    assert "FAILED" not in printed, printed


def test_the_example_of_a_known_failure_is_expected(printed: str) -> None:
    """The gate judges the new method with its defaults, and what its file in `thresholds/` says is an xfail."""
    assert "XFAIL tests/editgate/gate/test_edit_quality.py::test_efficacy[nudge-llama-mini-n1]" in printed, printed


def test_the_example_of_a_benchmark_is_asked(printed: str) -> None:
    """The new row and its test are part of the gate; two documents are too few, which is the error that is named."""
    assert "ERROR tests/editgate/gate/test_capability.py::test_piqa[nudge-llama-mini-n1]" in printed, printed
    assert "piqa: the unedited model scores" in printed
    assert "on 2 items" in printed


def test_the_example_of_an_architecture_is_edited(printed: str) -> None:
    """ROME writes the matrix that the new row names and no other tensor."""
    assert "PASSED tests/meta/editors/test_starcoder2.py::" in printed, printed


@pytest.fixture
def my_pkg(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader's own module."""
    module = ModuleType("my_pkg.my_module")
    module.MyEditor = type("MyEditor", (NoOp,), {"__module__": module.__name__})  # type: ignore[attr-defined]
    package = ModuleType("my_pkg")
    package.__path__ = []
    monkeypatch.setitem(sys.modules, "my_pkg", package)
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.usefixtures("my_pkg")
def test_the_readmes_checks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python that gates a method takes options that exist, and makes one test a check; nothing is measured here."""
    monkeypatch.chdir(tmp_path)
    made: list[str] = []

    def result(check: checks.Check) -> checks.Result:
        made.append(check.name)
        return checks.Result(check.name, Outcome.PASS)

    monkeypatch.setattr(checks.Check, "result", result)
    said: dict[str, Any] = {}
    for block in markdown.blocks(README, "python"):
        if "MyEditor" in block:
            exec(block, said)  # noqa: S102 - our own page
    (mark,) = said["test_my_editor"].pytestmark
    said["test_my_editor"](mark.args[1][0].values[0])
    assert "mmlu-n5" in made
    assert all(hasattr(said["result"], name) for name in ("name", "outcome", "reason", "numbers", "passed"))


def test_the_readmes_python_makes_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the README gives to try `--edited` on leaves a model that differs from its base, and undoes its edit."""
    monkeypatch.chdir(tmp_path)
    (block,) = (text for text in markdown.blocks(README, "python") if "save_pretrained" in text)
    said: dict[str, Any] = {}
    exec(block, said)  # noqa: S102 - our own page
    name = "model.layers.0.mlp.down_proj.weight"
    base, changed = (load_file(Path(folder) / "model.safetensors") for folder in (said["folder"], "changed"))
    assert not same_bits(base[name].float(), changed[name])
    assert same_bits(base[name].float(), said["model"].get_parameter(name))


# Not Kubernetes' manifests: tests/meta/plan/test_scripts.py reads those.
WORKFLOWS = [block for block in BLOCKS if block.language == "yaml" and not block.text.startswith("apiVersion:")]


@pytest.mark.parametrize("block", WORKFLOWS, ids=str)
def test_the_pages_workflows_are_accepted(block: Block, tmp_path: Path) -> None:
    """What a page shows as a workflow runs, up to the gate, with inputs that exist and actions that are known."""
    file = tmp_path / ".github" / "workflows" / "gate.yml"
    file.parent.mkdir(parents=True)
    file.write_text("on: push\n" + block.text, encoding="utf-8")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to("/bin/true")
    services = tmp_path / "services"
    known = {"OWNER/editgate": ROOT}
    machine = Machine(tmp_path / "home", EXAMPLE, known, python=tmp_path / "bin", services=services)
    run_workflow(machine, file, STAND_INS)
    assert {"Judge", "Keep the report"} <= {step.name for step in machine.steps}
    assert not machine.failed, machine.steps


def test_the_inputs_of_the_action_are_listed() -> None:
    """The page about CI has a row for each input of the action, with its default; the workflow has all but `report`."""
    action = yaml.safe_load((ROOT / ".github" / "actions" / "gate" / "action.yml").read_text(encoding="utf-8"))
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "gate.yml").read_text(encoding="utf-8"))
    called = workflow[True]["workflow_call"]["inputs"]  # YAML reads `on` as true
    defaults = {name: entry["default"] for name, entry in action["inputs"].items()}
    assert {name: entry["default"] for name, entry in called.items()} | {"report": defaults["report"]} == defaults
    rows = {name: markdown.row(TEXTS["docs/ci.md"], name)[-1].strip("`") for name in defaults}
    words = {"editor": "all methods", "model": "the profile's"}  # for an empty text
    assert rows == {name: default or words.get(name, "none") for name, default in defaults.items()}
