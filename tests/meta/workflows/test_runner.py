"""The runner of workflows does what GitHub documents, and refuses what it does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from meta.workflows.actions import STAND_INS
from meta.workflows.printed import Annotation, WorkflowError, read_annotations, read_variables
from meta.workflows.runner import Machine, run_workflow

CHECKOUT = "actions/checkout@0000000000000000000000000000000000000000"
LOCAL = """
name: local
inputs:
  word: {required: true}
runs:
  using: composite
  steps:
    - name: inner
      shell: bash
      env: {WORD: "${{ inputs.word }}", HERE: "${{ github.action_path }}"}
      run: echo "$WORD in $(basename "$HERE")"
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A runner for a repository with a local action."""
    action = tmp_path / "caller" / ".github" / "actions" / "local" / "action.yml"
    action.parent.mkdir(parents=True)
    action.write_text(LOCAL, encoding="utf-8")
    return Machine(tmp_path / "home", tmp_path / "caller", {}, tmp_path / "python", tmp_path / "services")


def run(machine: Machine, steps: str) -> dict[str, tuple[str, str]]:
    """Run a job with these steps, one a line in YAML's flow style; return outcome and print of each by its name."""
    file = machine.caller / ".github" / "workflows" / "job.yml"
    file.parent.mkdir(exist_ok=True)
    lines = "".join(f"      - {line.strip()}\n" for line in steps.strip().splitlines())
    file.write_text(f"on: push\njobs:\n  job:\n    runs-on: x\n    steps:\n{lines}", encoding="utf-8")
    run_workflow(machine, file, STAND_INS)
    return {step.name: (step.outcome, step.printed) for step in machine.steps}


def test_environment_files_reach_the_next_step(machine: Machine) -> None:
    """Variables (of several lines too), paths, outputs and summaries are taken up; a step's own `env` wins."""
    found = run(
        machine,
        """
        {id: a, run: 'printf "A=1\\nB<<END\\nx\\ny\\nEND\\n" >>"$GITHUB_ENV"; echo "out=it works" >>"$GITHUB_OUTPUT"'}
        {run: 'echo /first >>"$GITHUB_PATH"; echo "# one" >>"$GITHUB_STEP_SUMMARY"'}
        {name: told, env: {A: "2", OUT: "${{ steps.a.outputs.out }}"}, run: 'echo "$A|$B|$OUT|${PATH%%:*}"'}
        {name: where, run: 'mkdir sub'}
        {name: there, working-directory: sub, run: 'pwd; echo "two" >>"$GITHUB_STEP_SUMMARY"'}
        """,
    )
    assert found["told"] == ("success", "2|x\ny|it works|/first\n")
    assert found["there"][1] == f"{machine.workspace / 'sub'}\n"
    assert machine.summary.read_text(encoding="utf-8") == "# one\ntwo\n"


def test_a_failure_skips_what_does_not_ask_for_it(machine: Machine) -> None:
    """After a failed step only `always()` and `failure()` run; its outcome can be asked."""
    found = run(
        machine,
        """
        {name: bad, id: bad, run: 'exit 3'}
        {name: plain, run: 'true'}
        {name: always, if: always(), run: 'true'}
        {name: asked, if: "failure() && steps.bad.outcome == 'failure'", run: 'true'}
        {name: other, if: "always() && steps.bad.outcome == 'success'", run: 'true'}
        """,
    )
    assert {name: outcome for name, (outcome, _) in found.items()} == {
        "bad": "failure",
        "plain": "skipped",
        "always": "success",
        "asked": "success",
        "other": "skipped",
    }
    assert machine.failed


def test_the_shells_options_are_those_of_the_documentation(machine: Machine) -> None:
    """Without a shell a pipe's failure passes; `shell: bash` has pipefail. Both stop at the first failure."""
    found = run(
        machine, "{name: none, run: 'false | true; echo on'}\n{name: bash, shell: bash, run: 'false | true; echo on'}"
    )
    assert found == {"none": ("success", "on\n"), "bash": ("failure", "")}


@pytest.mark.parametrize("used", ["$/.github/actions/local", "./.github/actions/local"])
def test_actions_of_the_repository_are_followed(machine: Machine, used: str) -> None:
    """`$/` is the repository that the line stands in; `./` the workspace, which checkout fills."""
    found = run(machine, f"{{uses: {CHECKOUT}}}\n{{uses: {used}, with: {{word: hello}}}}")
    assert found["inner"] == ("success", "hello in local\n")


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("{uses: ./.github/actions/local, with: {word: x}}", "there is no"),  # before checkout
        ("{uses: $/.github/actions/local}", "local needs"),
        ("{uses: actions/checkout}", "names no commit"),
        ("{uses: somebody/else@1}", "no stand-in is known"),
        (f"{{uses: {CHECKOUT}, with: {{fetch-dept: 0}}}}", "not known to this stand-in"),
        ("{run: 'true', timeout: 3}", "not known here"),
        ("{run: 'true', shell: pwsh}", "the shell pwsh"),
        ("{run: 'echo ${{ inputs.word }}'}", "there is no 'inputs'"),
    ],
)
def test_what_is_not_known_is_refused(machine: Machine, steps: str, message: str) -> None:
    """A mistake that GitHub reports, and whatever this runner cannot do, is an error."""
    with pytest.raises(ValueError, match=message):
        run(machine, steps)


def test_annotations_are_read_as_the_runner_reads_them() -> None:
    """Properties end at the first `::`; a line that does not begin with `::` is no command; escapes are undone."""
    printed = (
        "  ::error title=a%3A%3Ab%2C c,file=x::one%0Atwo\nsaid ::error::no\n::error title=a::b::c\n::debug::x\n::end"
    )
    assert [*read_annotations(printed)] == [
        Annotation("error", "a::b, c", "one\ntwo"),
        Annotation("error", "a", "b::c"),
    ]


@pytest.mark.parametrize("text", ["A<<END\nx\n", "just words\n"])
def test_a_broken_environment_file_is_refused(text: str) -> None:
    """A text that never ends, and a line that sets nothing, are errors."""
    with pytest.raises(WorkflowError, match="environment file"):
        read_variables(text)
