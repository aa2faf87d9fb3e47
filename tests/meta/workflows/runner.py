"""Runs a workflow's jobs and an action's steps as GitHub's runner does, on this machine and without its services.

Each `run:` is written to a file and handed to the shell that the step names, with the environment files, the variables
and the directory that a runner gives it. Actions and workflows of ours are followed into their files. Those of others
are replaced by the stand-ins of `actions.py`. A key, an action or an expression that is not known here is an error.

What is not done: containers, services, matrices, several jobs at once, secrets, time limits, masks, other platforms.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from meta.workflows.expressions import Value, fill, holds
from meta.workflows.printed import Annotation, WorkflowError, read_annotations, read_variables

Steps: TypeAlias = list[dict[str, Any]]

STEP_KEYS = {"name", "id", "if", "uses", "with", "run", "shell", "env", "working-directory"}
ACTION_KEYS = {"name", "description", "inputs", "runs"}
JOB_KEYS = {"runs-on", "timeout-minutes", "steps", "uses", "with"}
WORKFLOW_KEYS = {"name", True, "permissions", "concurrency", "jobs"}  # YAML reads `on` as true
SHELLS = {  # as the documentation of `jobs.<job_id>.steps[*].shell` lists them
    "": ("bash", "-e"),
    "bash": ("bash", "--noprofile", "--norc", "-eo", "pipefail"),
}


@dataclass(frozen=True)
class StepResult:
    """What became of one step.

    Attributes:
        name: the step's name, or what it uses.
        outcome: success, failure or skipped.
        printed: both streams.
    """

    name: str
    outcome: str
    printed: str = ""


@dataclass
class Machine:
    """A runner, fresh for a job.

    Attributes:
        home: an empty folder that holds all of it.
        caller: the repository whose workflow runs; `checkout` lays a copy of it into the workspace.
        repositories: folders of the other repositories that may be used, by "owner/name".
        python: a folder with the `python` that `setup-python` provides.
        services: what outlives the job (caches and artifacts).
        variables: what the runner's environment has beside GitHub's own.
    """

    home: Path
    caller: Path
    repositories: Mapping[str, Path]
    python: Path
    services: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    steps: list[StepResult] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    exported: dict[str, str] = field(default_factory=dict)
    failed: bool = False

    def __post_init__(self) -> None:
        for folder in (self.workspace, self.temp, self.services):
            folder.mkdir(parents=True, exist_ok=True)
        self.summary.touch()

    @property
    def workspace(self) -> Path:
        """Where steps run."""
        return self.home / "work"

    @property
    def temp(self) -> Path:
        """The job's temporary folder."""
        return self.home / "temp"

    @property
    def summary(self) -> Path:
        """All that the steps wrote to their summaries."""
        return self.home / "summary.md"

    @property
    def contexts(self) -> dict[str, Value]:
        """What expressions may name everywhere."""
        github = {"run_id": "1", "run_attempt": "1", "ref": "refs/heads/main", "workspace": str(self.workspace)}
        return {"github": github, "runner": {"os": "Linux", "temp": str(self.temp)}}

    @property
    def annotations(self) -> list[Annotation]:
        """What the steps told GitHub to show, in their order."""
        return [annotation for step in self.steps for annotation in read_annotations(step.printed)]


StandIn: TypeAlias = Callable[[Machine, Mapping[str, str]], None]


def run_workflow(
    machine: Machine, file: Path, stand_ins: Mapping[str, StandIn], inputs: Mapping[str, Value] | None = None
) -> None:
    """Run the one job of a workflow, or of the workflow that this job calls.

    Args:
        machine: where; its `steps` say what became of them.
        file: `<repository>/.github/workflows/<name>.yml`.
        stand_ins: what replaces actions of others, by "owner/name" or "owner/name/folder".
        inputs: what a caller gave; None if an event started the workflow.

    Raises:
        WorkflowError: The workflow is not one that GitHub accepts, or has something that is not known here.
    """
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    _allow(workflow, WORKFLOW_KEYS, file.name)
    contexts = machine.contexts
    if inputs is not None:
        contexts["inputs"] = _checked(workflow[True]["workflow_call"].get("inputs", {}), inputs, file.name)
    (job,) = workflow["jobs"].values()
    _allow(job, JOB_KEYS, f"{file.name}: job")
    repository = file.parents[2]
    if "uses" in job:
        given = {key: _filled(value, contexts) for key, value in job.get("with", {}).items()}
        called = _resolve(job["uses"], machine, repository)
        if called is None:
            raise WorkflowError(f"{file.name}: {job['uses']} is no workflow that is known here")
        run_workflow(machine, called, stand_ins, given)
    else:
        run_steps(machine, job["steps"], contexts, stand_ins, repository)


def run_action(
    machine: Machine, folder: Path, stand_ins: Mapping[str, StandIn], given: Mapping[str, Value] | None = None
) -> None:
    """Run the steps of a composite action; `folder` is that of its `action.yml` within its repository.

    Raises:
        WorkflowError: The action is not one that GitHub accepts, or has something that is not known here.
    """
    action = yaml.safe_load((folder / "action.yml").read_text(encoding="utf-8"))
    _allow(action, ACTION_KEYS, folder.name)
    if action["runs"]["using"] != "composite":
        raise WorkflowError(f"{folder.name}: only composite actions are known here")
    for step in action["runs"]["steps"]:
        if "run" in step and "shell" not in step:
            raise WorkflowError(f"{folder.name}: a step of a composite action must name its shell")
    contexts = machine.contexts
    contexts["github"] |= {"action_path": str(folder)}
    contexts["inputs"] = _checked(action.get("inputs", {}), given or {}, folder.name)
    repository = next(parent.parent for parent in folder.parents if parent.name == ".github")
    run_steps(machine, action["runs"]["steps"], contexts, stand_ins, repository)


def run_steps(
    machine: Machine, steps: Steps, contexts: dict[str, Value], stand_ins: Mapping[str, StandIn], repository: Path
) -> None:
    """Run steps one after another; after a failure only those whose `if:` says so."""
    finished: dict[str, Value] = {}
    for step in steps:
        _allow(step, STEP_KEYS, f"step {step.get('name', step.get('uses'))}")
        name = str(step.get("name", step.get("uses", step.get("run"))))
        known = contexts | {"env": machine.exported, "steps": finished}
        if not holds(step.get("if"), known, failed=machine.failed):
            machine.steps.append(StepResult(name, "skipped"))
        elif "run" in step:
            outputs = _shell(machine, name, step, known)
            finished[step.get("id", "")] = {"outputs": outputs, "outcome": machine.steps[-1].outcome}
        else:
            given = {key: _filled(value, known) for key, value in step.get("with", {}).items()}
            folder = _resolve(step["uses"], machine, repository)
            if folder is not None:
                run_action(machine, folder, stand_ins, given)
            elif (stand_in := stand_ins.get(step["uses"].partition("@")[0])) is not None:
                stand_in(machine, {key: str(value) for key, value in given.items()})
                machine.steps.append(StepResult(name, "success"))
            else:
                raise WorkflowError(f"no stand-in is known for {step['uses']}")


def _shell(machine: Machine, name: str, step: Mapping[str, Any], contexts: Mapping[str, Value]) -> dict[str, str]:
    """Run one `run:` step, take up what it wrote into its environment files, and return its outputs."""
    if step.get("shell", "") not in SHELLS:
        raise WorkflowError(f"{name}: the shell {step['shell']} is not known here")
    number = len(machine.steps)
    script = machine.temp / f"step_{number}.sh"
    script.write_text(fill(step["run"], contexts), encoding="utf-8")
    files = {key: machine.temp / f"{key.lower()}_{number}" for key in ("ENV", "OUTPUT", "PATH", "STEP_SUMMARY")}
    for file in files.values():
        file.touch()
    own = {key: fill(str(value), contexts) for key, value in step.get("env", {}).items()}
    told = {f"GITHUB_{key}": str(file) for key, file in files.items()}
    told |= {"GITHUB_ACTIONS": "true", "CI": "true", "GITHUB_WORKSPACE": str(machine.workspace)}
    base = {"HOME": str(machine.home), "LANG": "C.UTF-8", "RUNNER_TEMP": str(machine.temp), "RUNNER_OS": "Linux"}
    path = os.pathsep.join([*reversed(machine.paths), "/usr/local/bin", "/usr/bin", "/bin"])
    done = subprocess.run(  # noqa: S603 - our own workflows
        [*SHELLS[step.get("shell", "")], str(script)],
        cwd=machine.workspace / fill(step.get("working-directory", "."), contexts),
        env={**base, "PATH": path, **machine.variables, **told, **machine.exported, **own},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    machine.exported |= read_variables(files["ENV"].read_text(encoding="utf-8"))
    machine.paths += files["PATH"].read_text(encoding="utf-8").splitlines()
    with machine.summary.open("a", encoding="utf-8") as summary:
        summary.write(files["STEP_SUMMARY"].read_text(encoding="utf-8"))
    machine.failed |= done.returncode != 0
    machine.steps.append(StepResult(name, "failure" if done.returncode else "success", done.stdout))
    return read_variables(files["OUTPUT"].read_text(encoding="utf-8"))


def _resolve(used: str, machine: Machine, repository: Path) -> Path | None:
    """The file or folder of something of ours; None for an action of others.

    `$/` is the repository that the line stands in, `./` the workspace, and `owner/name/path@commit` another repository.
    """
    if used.startswith("$/"):
        found = repository / used[2:]
    elif used.startswith("./"):
        found = machine.workspace / used
    else:
        path, at, commit = used.partition("@")
        if not at or not commit:
            raise WorkflowError(f"{used} names no commit")
        owner, name, *rest = path.split("/")
        if f"{owner}/{name}" not in machine.repositories:
            return None
        found = machine.repositories[f"{owner}/{name}"].joinpath(*rest)
    if not found.exists():
        raise WorkflowError(f"{used}: there is no {found}")
    return found


def _checked(declared: Mapping[str, Any], given: Mapping[str, Value], name: str) -> dict[str, Value]:
    """The inputs with their defaults; unknown and missing ones are refused."""
    if unknown := set(given) - set(declared):
        raise WorkflowError(f"{name} has no input {sorted(unknown)}; it has {sorted(declared)}")
    if missing := {key for key, entry in declared.items() if entry.get("required") and key not in given}:
        raise WorkflowError(f"{name} needs {sorted(missing)}")
    return {key: given.get(key, entry.get("default", "")) for key, entry in declared.items()}


def _filled(value: Value, contexts: Mapping[str, Value]) -> Value:
    return fill(value, contexts) if isinstance(value, str) else value


def _allow(found: Mapping[Any, Any], known: set[Any], name: str) -> None:
    if unknown := set(found) - known:
        raise WorkflowError(f"{name}: {unknown} is not known here")


def copy_repository(source: Path, target: Path) -> None:
    """Lay a repository's files into a folder, without what git would not have."""
    ignored = shutil.ignore_patterns("__pycache__", ".git", ".editgate", "*.egg-info")
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=ignored)
