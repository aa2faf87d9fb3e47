"""The scripts of docs/clusters.md ask for every shard once."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from meta.docs.pages import TEXTS

PAGE = TEXTS["docs/clusters.md"]


def _shards(commands: list[tuple[str, dict[str, str]]]) -> list[str]:
    """Return what bash makes of `--shard=…` in these commands, with these variables."""
    found = []
    for command, variables in commands:
        printed = subprocess.run(  # noqa: S603 - a line of the page
            ["bash", "-c", command.replace("python -m editgate", "echo")],  # noqa: S607 - the bash that there is
            env=variables,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        found.append(printed.split("--shard=")[1].split()[0])
    return found


def test_the_array_of_slurm_asks_for_each_part() -> None:
    """Array indices from 1 to N give 1/N to N/N."""
    found = re.search(r"^#SBATCH .*-a 1-(\d+) ", PAGE, re.MULTILINE)
    command = re.search(r"^python -m editgate .*--shard=.*$", PAGE, re.MULTILINE)
    assert found
    assert command
    of = int(found[1])
    given = [
        {"SLURM_ARRAY_TASK_ID": str(k), "SLURM_ARRAY_TASK_COUNT": str(of), "PATH": "/usr/bin:/bin"}
        for k in range(1, of + 1)
    ]
    assert _shards([(command[0], each) for each in given]) == [f"{k}/{of}" for k in range(1, of + 1)]


@pytest.mark.parametrize("text", re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
def test_the_job_of_kubernetes_asks_for_each_part(text: str) -> None:
    """Indices from 0 to N - 1 give the same parts, and as many pods may run as there are."""
    job = yaml.safe_load(text)["spec"]
    of = job["completions"]
    *bash, command = job["template"]["spec"]["containers"][0]["command"]
    assert bash == ["bash", "-c"]
    given = [{"JOB_COMPLETION_INDEX": str(k), "PATH": "/usr/bin:/bin"} for k in range(of)]
    assert _shards([(command, each) for each in given]) == [f"{k}/{of}" for k in range(1, of + 1)]
    assert job["parallelism"] == of
