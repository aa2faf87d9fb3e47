"""The container of the gate is built where an engine runs; elsewhere its steps run, each in the shell of the image."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from meta.support.gate import ROOT

FILE = ROOT / ".github" / "Containerfile"
KNOWN = {"FROM", "COPY", "ARG", "RUN", "ENV", "WORKDIR", "ENTRYPOINT"}
PIP = ("-m", "pip", "install", "--no-cache-dir")
INDEX = "file:///an index"
NOTE = """#!/bin/sh
printf '%s\\0' "$@" >>"{log}"
printf '\\036' >>"{log}"
"""


def instructions() -> list[tuple[str, str]]:
    """Return each instruction and what follows it, with continued lines joined and without comments."""
    lines = [line for line in FILE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(" ", 1)) for line in "\n".join(lines).replace("\\\n", "").splitlines()]  # type: ignore[misc]


def build(root: Path, python: Path, variables: dict[str, str]) -> dict[str, str]:
    """Carry out the instructions below a folder in place of `/`; return the environment that they leave."""
    environment = variables | {"PATH": f"{python}:/usr/local/bin:/usr/bin:/bin"}
    for instruction, text in instructions():
        if instruction == "COPY":
            *sources, target = text.split()
            for source in sources:
                into = root / target.strip("/")
                if (ROOT / source).is_dir():
                    ignored = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(ROOT / source, into, ignore=ignored, dirs_exist_ok=True)
                else:
                    into.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / source, into)
        elif instruction == "RUN":
            command = text.replace("/suite", f"{root}/suite")
            done = subprocess.run(  # noqa: S603 - our own file
                ["/bin/sh", "-c", command], cwd=root, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        elif instruction == "ENV":
            environment |= dict(re.findall(r"(\w+)=(\S+)", text))
        else:
            assert instruction in KNOWN, f"{instruction} is not known to this test"
    return environment


@pytest.mark.parametrize("index", ["", INDEX])
def test_its_steps_install_the_locked_releases_and_torch_for_cpus(tmp_path: Path, index: str) -> None:
    """Its two pip commands name files that were copied, the lock's torch as "+cpu", and the index if one is given."""
    log, python = tmp_path / "log", tmp_path / "bin"
    python.mkdir()
    (python / "python").write_text(NOTE.format(log=log), encoding="utf-8")
    (python / "python").chmod(0o755)
    build(tmp_path, python, {"TORCH_INDEX": index} if index else {})
    torch, suite = (call.split("\0")[:-1] for call in log.read_text(encoding="utf-8").split("\x1e")[:-1])
    (locked,) = re.findall(r"^torch==.*$", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    assert torch == [*PIP, "--no-deps", *(["--index-url", index] if index else []), f"{locked}+cpu"]
    assert suite == [*PIP, "--constraint", f"{tmp_path}/suite/requirements.lock", f"{tmp_path}/suite"]
    project = tomllib.loads((tmp_path / "suite" / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [*wheel["only-include"], project["project"]["readme"], *project["project"]["license-files"]]
    assert [name for name in needed if not (tmp_path / "suite" / name).exists()] == []


def test_it_names_what_there_is() -> None:
    """Its last instruction runs the module that the README runs, from the folder that a caller mounts."""
    found = dict(instructions())
    assert json.loads(found["ENTRYPOINT"]) == ["python", "-m", "editgate"]
    assert found["WORKDIR"] == "/work"
    assert sum(instruction == "FROM" for instruction, _ in instructions()) == 1


@pytest.fixture
def index(request: pytest.FixtureRequest) -> str:
    """By night, the index of torch's builds for CPUs: `EDITGATE_TORCH_INDEX`, or "" if pip's own has them."""
    if request.config.option.profile != "nightly":
        pytest.skip("it takes minutes: under --profile=nightly")
    index = os.environ.get("EDITGATE_TORCH_INDEX", "")
    (locked,) = re.findall(r"^torch==.*$", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    asked = [sys.executable, *PIP, "--no-deps", "--dry-run", "--ignore-installed", f"{locked}+cpu"]
    found = subprocess.run([*asked, *(["--index-url", index] if index else [])], capture_output=True, check=False)  # noqa: S603
    if found.returncode != 0:
        pytest.skip(f"pip finds no {locked}+cpu: name its index in EDITGATE_TORCH_INDEX")
    return index


def test_its_steps_make_a_gate_that_runs(tmp_path: Path, index: str) -> None:
    """With pip really asked, the entry point judges a method from an empty folder."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "fresh")], check=True)  # noqa: S603 - our own command
    python = tmp_path / "fresh" / "bin"
    given = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    given["PIP_REQUIRE_VIRTUALENV"] = "1"
    environment = build(tmp_path, python, given | ({"TORCH_INDEX": index} if index else {}))
    (tmp_path / "work").mkdir()
    entry = json.loads(dict(instructions())["ENTRYPOINT"])
    arguments = ("-m", "rome", "-k", "gsm8k", "--edit-counts=1")
    done = subprocess.run(  # noqa: S603 - our own command
        [*entry, *arguments], cwd=tmp_path / "work", env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_an_engine_builds_it(tmp_path: Path, index: str) -> None:
    """Where an engine answers, the image is built, and its gate says which options it has to whoever runs it."""
    engine = next((name for name in ("podman", "docker") if _answers(name)), None)
    if engine is None:
        pytest.skip("neither podman nor docker answers here")
    image = f"editgate-test-{os.getpid()}"
    command = [engine, "build", "--file", str(FILE), "--build-arg", f"TORCH_INDEX={index}", "--tag", image, str(ROOT)]
    subprocess.run(command, check=True)  # noqa: S603 - our own command
    shown = [engine, "run", "--rm", "--user", "12345:12345", "--volume", f"{tmp_path}:/work", image, "--help"]
    done = subprocess.run(shown, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    subprocess.run([engine, "rmi", image], check=True)  # noqa: S603 - our own command
    assert "--edit-counts" in done.stdout, done.stdout + done.stderr


def _answers(engine: str) -> bool:
    return shutil.which(engine) is not None and subprocess.run([engine, "info"], capture_output=True).returncode == 0  # noqa: S603, PLW1510
