"""What other people's CI calls does what it says: the example's workflow, the one that it calls, and the action.

All steps run as on a runner. `python` is a stand-in that notes what it is asked, installs nothing, and runs the rest.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from editgate.report.run_report import read_report
from meta.support.gate import ROOT
from meta.workflows.actions import STAND_INS
from meta.workflows.printed import WorkflowError
from meta.workflows.runner import Machine, run_action, run_workflow

ACTION = ROOT / ".github" / "actions" / "gate"
GATE = ROOT / ".github" / "workflows" / "gate.yml"
EXAMPLE = ROOT / "tests" / "meta" / "example_method"
FILES = [ACTION / "action.yml", *sorted((ROOT / ".github" / "workflows").glob("*.yml"))]
END = "\x1e"  # after each call that the stand-in notes; its arguments end with NUL
PYTHON = """#!/bin/sh
printf '%s\\0' "$@" >>"{log}"
printf '\\036' >>"{log}"
if [ "$2" = pip ] || [ -e "{log}.only" ]; then exit 0; fi
exec "{python}" "$@"
"""
HOSTILE = (
    "; touch x",
    "$(touch x) `touch x`",
    "a\" 'b'; touch x; #",
    "two\nlines\ntouch x",
    "${{ github.run_id }}",
    "--version",
    "::error title=x::y",
    "a  *  b\\",
)


@pytest.fixture
def machine(tmp_path: Path, store: Path) -> Machine:
    """A runner for the example's repository, whose temporary folder holds the store of this run."""
    found = Machine(
        home=tmp_path / "runner",
        caller=EXAMPLE,
        repositories={"OWNER/editgate": ROOT},
        python=tmp_path / "python",
        services=tmp_path / "services",
        variables={
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join((str(ROOT / "tests"), str(ROOT))),
        },
    )
    found.python.mkdir()
    program = found.python / "python"
    program.write_text(PYTHON.format(log=tmp_path / "log", python=sys.executable), encoding="utf-8")
    program.chmod(0o755)
    store.mkdir(exist_ok=True)
    (found.temp / "editgate-store").symlink_to(store, target_is_directory=True)
    return found


def asked(machine: Machine) -> list[list[str]]:
    """Return what `python` was asked, call by call."""
    log = machine.home.parent / "log"
    calls = log.read_text(encoding="utf-8").split(END)[:-1] if log.exists() else []
    return [call.split("\0")[:-1] for call in calls]


def only_note(machine: Machine) -> None:
    """Let `python` run nothing."""
    (machine.home.parent / "log.only").touch()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_everything_used_is_pinned_by_commit(file: Path) -> None:
    """Each `uses:` names a commit or this repository; no workflow may write; no shell line has an expression."""
    text = file.read_text(encoding="utf-8")
    used = re.findall(r"^\s*(?:- )?uses: (\S+)", text, re.MULTILINE)
    assert used or file.stem == "ci"
    assert all(name.startswith(("$/", "./")) or re.fullmatch(r"[^@]+@[0-9a-f]{40}", name) for name in used), used
    assert "write" not in text.split("jobs:")[0]
    found = yaml.safe_load(text)
    steps = [step for job in found.get("jobs", {}).values() for step in job["steps"]] or found["runs"]["steps"]
    assert not any("${{" in step.get("run", "") for step in steps), "an expression in a shell line is an injection"


def test_the_examples_workflow_runs_the_gate(machine: Machine) -> None:
    """The caller's workflow reaches the action; both packages are installed, and its inputs arrive as options."""
    only_note(machine)
    run_workflow(machine, EXAMPLE / ".github" / "workflows" / "gate.yml", STAND_INS)
    assert [step.outcome for step in machine.steps] == ["success"] * 8, machine.steps
    suite, own, judge, summarize = asked(machine)
    assert suite[:5] == ["-m", "pip", "install", "--quiet", "--constraint"]
    assert Path(suite[5]).resolve() == ROOT / "requirements.lock"
    assert Path(suite[6]).resolve() == ROOT
    assert own == ["-m", "pip", "install", "--quiet", "--editable", "."]
    assert judge[:2] == ["-m", "editgate"]
    assert {"--editor=one_matrix", "--model=llama-mini", "--thresholds=known_failures.toml"} <= {*judge}
    measured = tomllib.loads((EXAMPLE / "known_failures.toml").read_text(encoding="utf-8"))["known_failures"]
    assert judge[-1] == f"--edit-counts={','.join(map(str, measured['measured_at']))}", (
        "else the gate is red for no news"
    )
    assert not any(argument.startswith("--edited") for argument in judge)
    assert summarize == ["-m", "editgate.report.github", "editgate-report"]


def test_the_suite_alone_is_installed_where_the_caller_has_no_package(machine: Machine) -> None:
    """Without a pyproject.toml in the workspace pip is called once."""
    only_note(machine)
    run_action(machine, ACTION, STAND_INS)
    assert [call for call in asked(machine) if "pip" in call] == asked(machine)[:1]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_inputs_are_inert(machine: Machine, hostile: str) -> None:
    """Whatever an input holds, it arrives as one argument, and runs nothing."""
    only_note(machine)
    names = ("editor", "edited", "model", "profile", "thresholds", "report")
    given = dict.fromkeys(names, hostile) | {"arguments": f"--limit=3\n\n{hostile}"}
    run_action(machine, ACTION, STAND_INS, given)
    _, judge, summarize = asked(machine)
    options = [f"--{name}={hostile}" for name in names]
    assert {*options} <= {*judge}
    assert judge[-1 - hostile.count("\n") :] == hostile.split("\n")  # further arguments are one a line
    assert summarize[2] == hostile
    assert not [*machine.home.rglob("x")]
    assert machine.annotations == []


def test_an_unknown_input_is_refused(machine: Machine) -> None:
    """A typo in `with:` is an error; GitHub only warns of one to an action."""
    with pytest.raises(WorkflowError, match=r"gate has no input \['edtior'\]"):
        run_action(machine, ACTION, STAND_INS, {"edtior": "rome"})


def test_two_gates_of_a_run_keep_both_reports(machine: Machine) -> None:
    """Artifacts of a run must not share a name: the second gate takes another one."""
    only_note(machine)
    for name in ("one", "two"):
        (machine.workspace / name).mkdir()
        run_action(machine, ACTION, STAND_INS, {"report": name, "artifact": f"report-{name}"})
    assert {path.name for path in (machine.services / "artifacts").iterdir()} == {"report-one", "report-two"}


def test_a_regression_is_red_and_told(machine: Machine) -> None:
    """A method that does harm ends the job red, with a report, a summary, annotations and a store for the next."""
    arguments = "--edit-counts=2\n-n\n0\n-p\nno:cacheprovider\n-k\nvandal and gsm8k"
    run_workflow(machine, GATE, STAND_INS, {"editor": "editgate.controls:Vandal", "arguments": arguments})
    outcomes = {step.name: step.outcome for step in machine.steps}
    assert machine.failed
    assert [name for name, outcome in outcomes.items() if outcome != "success"] == ["Judge"], machine.steps
    kept = machine.services / "artifacts" / "editgate-report"
    assert read_report(kept / "report.json").result == "regression"
    assert (kept / "junit.xml").is_file()
    first, second = machine.annotations[:2]
    assert {first.level, second.level} == {"error"}
    assert first.title.startswith("REGRESSION: 1 method; 1 new failure")
    assert "vandal-llama-mini" in second.title
    assert "vandal-llama-mini" in machine.summary.read_text(encoding="utf-8")
    assert [*(machine.services / "caches").iterdir()], "a red run's store is what the next one continues with"


def test_a_run_without_a_report_is_told(machine: Machine) -> None:
    """A usage error stops the run before there is a report: the job is red, and the annotation says so."""
    run_workflow(machine, GATE, STAND_INS, {"editor": "nobody", "arguments": "-n\n0"})
    assert machine.failed
    assert "wrote no report" in machine.annotations[-1].message
    assert not (machine.services / "artifacts").exists()


def test_the_next_run_takes_up_the_store(machine: Machine) -> None:
    """The store of a red run is there in the next, under a key that begins the same."""
    only_note(machine)
    (machine.temp / "editgate-store").unlink()
    earlier = machine.services / "caches" / "editgate-Linux-0-1"
    earlier.mkdir(parents=True)
    (earlier / "entry").write_text("kept", encoding="utf-8")
    run_action(machine, ACTION, STAND_INS)
    assert (machine.temp / "editgate-store" / "entry").read_text(encoding="utf-8") == "kept"
    assert (machine.services / "caches" / "editgate-Linux-1-1" / "entry").is_file()


def test_the_example_is_gated_in_an_environment_of_its_own(
    machine: Machine, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """By night: pip installs the suite and the example beside it, and the gate is green with what is on record."""
    if request.config.option.profile != "nightly":
        pytest.skip("a fresh environment takes minutes: under --profile=nightly")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "fresh")], check=True)  # noqa: S603 - our own command
    machine.python = tmp_path / "fresh" / "bin"  # through a link it would not know its environment, and use another one
    pip = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
    machine.variables = {"HF_HUB_OFFLINE": "1", "PIP_REQUIRE_VIRTUALENV": "1"} | pip
    run_workflow(machine, EXAMPLE / ".github" / "workflows" / "gate.yml", STAND_INS)
    assert not machine.failed, "\n".join(step.printed for step in machine.steps)
    assert read_report(machine.services / "artifacts" / "editgate-report" / "report.json").result == "pass"
