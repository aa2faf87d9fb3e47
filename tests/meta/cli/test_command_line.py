"""Wrong input is a usage error of one to three lines that lists what is allowed, before any model is loaded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import editors
from editgate.options.options import Options
from editors import names, takes_batches
from meta.support import tiny_models as tiny
from meta.support.gate import ROOT, collected, run_gate


def collect(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Collect one file of the gate with these options."""
    return run_gate(pytester, "--collect-only", "-q", *options, files=("capability",))


WRONG = {
    "unknown model": (
        ["--model", "lama-mini"],
        "--model 'lama-mini' is not known. Allowed: gpt2-mini, llama-mini, llama-mini-chat",
    ),
    "hub model while offline": (["--model", "nobody/has-this"], "not on this machine and HF_HUB_OFFLINE is set"),
    "unknown editor": (["--editor", "memitt"], "no editor is called 'memitt'; there are memit"),
    "unknown module": (["--editor", "nowhere.at_all:It"], "cannot import 'nowhere.at_all'"),
    "hyperparameter of no editor": (["--editor-arg", "v_lr=0.1"], "'v_lr=0.1' needs exactly one --editor, not 0"),
    "no hyperparameter": (["--editor", "rome", "--editor-arg", "v_lr"], "'v_lr' is not of the form key=value"),
    "unknown hyperparameter": (
        ["--editor", "rome", "--editor-arg", "color=1"],
        "rome has no hyperparameter color; it has layers, fact_token",
    ),
    "hyperparameter of a function": (
        ["--editor", "editgate.controls:NoOp", "--editor-arg", "color=1"],
        "has no hyperparameter color; it takes",
    ),
    "no such thresholds": (["--thresholds", "nowhere/mine.toml"], "nowhere/mine.toml: cannot be read"),
    "batch size": (["--batch-size", "0"], "--batch-size is 0; allowed: at least 1."),
    "no batches": (
        ["--batch-size", "10", "--editor", "rome"],
        "--batch-size 10: rome takes one edit at a time; batches: alphaedit,",
    ),
    "no batches by keyword": (
        ["--batch-size=10", "-k", "kn and mmlu"],
        "--batch-size 10: kn takes one edit at a time; batches: alphaedit,",
    ),
    "no batches by an expression": (
        ["--batch-size=10", "-k", "test_mmlu and (grace or rome)"],
        "--batch-size 10: grace, rome, rrome take one edit at a time; batches: alphaedit,",
    ),
    "batches of a changed model": (
        ["--batch-size=2", "--edited=theirs"],
        "--batch-size 2: --edited theirs was changed elsewhere. Allowed: an --editor.",
    ),
    "edit order": (["--edit-order", "-1"], "--edit-order is -1; allowed: 0"),
    "counts": (["--edit-counts", "0,-3,x"], "--edit-counts '0,-3,x': '0' is not a number of edits"),
    "too many edits": (["--edit-counts", "1,5000"], "asks for 5000 edits, but counterfact holds 1000"),
    "no such edits": (["--edits", "counterfakt"], "Allowed: counterfact, zsre, FILE"),
    "limit": (["--limit", "0"], "--limit is 0; allowed: at least 1"),
    "device": (["--device", "tpu9"], "--device 'tpu9' cannot be used"),
    "profile": (["--profile", "weekly"], "--profile 'weekly' is unknown. Allowed: smoke, default, nightly, paper."),
    "paper without a model": (["--profile", "paper"], "--profile paper needs a --model"),
    "keyword that is nearly an editor": (
        ["-k", "memmit"],
        "-k 'memmit': no test has 'memmit' in its name. Did you mean memit? Allowed: alphaedit,",
    ),
    "keyword that is nearly a model": (["-k", "lama-mini and mmlu or gpt-mini"], "Did you mean gpt2-mini?"),
    "keyword that is nearly a benchmark": (["-k", "rome and gms8k"], "Did you mean gsm8k?"),
    "marker that is nearly an editor": (
        ["-m", "memmit"],
        "-m 'memmit': no marker is called 'memmit'. Did you mean memit? Allowed: alphaedit,",
    ),
    "marker in capitals": (["-m", "ROME"], "Did you mean rome?"),
    "unknown marker": (["-m", "slow"], "no marker is called 'slow'. Allowed: alphaedit,"),
    "editors that exclude each other": (
        ["--editor", "rome", "-m", "memit"],
        "--editor=rome and -m 'memit' exclude each other: nothing is left. Leave out one of them.",
    ),
    "a keyword and an editor that exclude each other": (
        ["--editor", "rome", "-k", "mmlu and memit"],
        "--editor=rome and -k 'mmlu and memit' exclude each other",
    ),
    "two editors at once": (["-m", "rome and memit"], "-m 'rome and memit' exclude each other: nothing is left."),
    "another model": (["-k", "gpt2-mini"], "-k 'gpt2-mini' and --model=llama-mini exclude each other"),
    "dtype": (["--dtype", "int3"], "--dtype 'int3'; allowed: 'bfloat16', 'float16' or 'float32'."),
}


@pytest.mark.parametrize("case", sorted(WRONG))
def test_wrong_option(case: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong value names itself and what is allowed, and nothing runs."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    options, message = WRONG[case]
    result = collect(pytester, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in " ".join(result.stderr.str().split())
    assert len(result.stderr.str().strip().splitlines()) <= 8  # argparse adds the file and the root directory


def test_a_name_inside_another_selects_its_own_editor_only(pytester: pytest.Pytester) -> None:
    """`-k rome` is ROME, though `rrome` contains it; a part of a name still means all editors that contain it."""

    def runs(keyword: str) -> set[str]:
        lines = collect(pytester, "-k", keyword).outlines
        return {line.split("[")[1].split("-")[0] for line in lines if "::test_mmlu[" in line}

    assert runs("rome") == runs("ROME") == {"rome"}
    assert runs("rrome") == {"rrome"}
    assert runs("rom") == {"rome", "rrome"}


def test_in_batches_ids_say_so_and_other_methods_are_left_out(pytester: pytest.Pytester) -> None:
    """Of all methods those run that take batches; the header names the others, and the command that repeats has it."""
    result = collect(pytester, "--batch-size=10", "--edit-counts=7", "-k", "test_mmlu")
    ids = {line.split("[")[1].rstrip("]") for line in result.outlines if "::test_mmlu[" in line}
    assert ids == {f"{name}-b10-llama-mini-n7" for name in names() if takes_batches(name)}
    full = collect(pytester, "--batch-size=10", "-k", "test_mmlu", "-v").stdout.str()
    left = ", ".join(name for name in names() if not takes_batches(name))
    assert f"--batch-size 10: {left} take one edit at a time; batches: alphaedit" in " ".join(full.split())
    assert Options.of({"batch_size": 10}).repeated() == ["--batch-size=10"]


def test_a_model_from_elsewhere_needs_its_edits(pytester: pytest.Pytester) -> None:
    """Without --edits a model that was not trained here is told which edits it needs, before anything is loaded."""
    tiny.model().save_pretrained(pytester.path / "theirs")
    result = collect(pytester, f"--model={pytester.path / 'theirs'}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--edits" in result.stderr.str()
    assert "Traceback" not in result.stderr.str()


AUTHOR = """
class Mine:
    def __init__(self, model, tokenizer):
        self.model = model

    def apply(self, edit):
        pass
"""


def test_two_methods_of_one_name_are_refused(pytester: pytest.Pytester) -> None:
    """Two methods from elsewhere whose short names agree would hide one another: none is silently dropped."""
    pytester.makepyfile(one_author=AUTHOR, other_author=AUTHOR)
    pytester.syspathinsert()
    both = ("--editor", "one_author:Mine", "--editor", "other_author:Mine")
    result = collect(pytester, *both)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "are both called 'mine'" in result.stderr.str()


@pytest.mark.parametrize("asked", [(), ("-k", "rome"), ("-m", "rome"), ("--editor", "rome")])
def test_the_suites_own_tests_are_asked_for_by_their_path(asked: tuple[str, ...], pytester: pytest.Pytester) -> None:
    """A bare `pytest` is the whole gate; whoever names a method otherwise than by `-k` asks about that alone."""
    options = ("-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", "-p", "no:xdist", "--collect-only", "-q")
    given = (*options, f"--store={pytester.path / 'store'}", *asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        gate = collected(pytester.runpytest_inprocess(*given))
        assert not [line for line in gate if "tests/meta" in line]
        assert {"test_mmlu", "test_toxigen", "test_efficacy", "test_integrity"} <= {
            line.split("::")[1].split("[")[0] for line in gate
        }
        own = pytester.runpytest_inprocess("tests/meta/methods/test_rrome.py", *given)
        assert any("tests/meta" in line for line in own.outlines) == (asked[:1] in ((), ("-k",)))


def test_curves_are_on_record_for_the_default_model_only(pytester: pytest.Pytester) -> None:
    """No curve is asked of a model that has none on record: it would be red without a cause."""

    def ids(model: str) -> list[str]:
        return collected(run_gate(pytester, "--collect-only", "-q", f"--model={model}", files=("curves",)))

    assert len(ids("llama-mini")) == len(editors.names())
    assert not ids("llama-mini-chat")


def test_a_profile_says_what_it_sets_and_yields_to_what_is_given(pytester: pytest.Pytester) -> None:
    """The smoke profile asks for two Ns and fifty items; an option on the command line goes before it."""
    here = ("--profile", "smoke", "-k", "mmlu and memit")
    plain = collect(pytester, *here)
    assert [line.rsplit("-n")[1] for line in plain.outlines if "::test_mmlu[" in line] == ["1]", "5]"]
    given = collect(pytester, *here, "--edit-counts", "3")
    assert [line.rsplit("-n")[1] for line in given.outlines if "::test_mmlu[" in line] == ["3]"]


def test_store_that_cannot_be_written(pytester: pytest.Pytester) -> None:
    """A store below a plain file is refused at once."""
    (pytester.path / "file").write_text("", encoding="utf-8")
    result = collect(pytester, "--store", str(pytester.path / "file" / "store"))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "store" in result.stderr.str()


BAD_RECORDS = {
    "no form": ({"hello": 1}, "record 1: it has none of the fields that identify its format"),
    "missing field": (
        {"requested_rewrite": {"prompt": "{} is", "subject": "X"}},
        "record 1: field 'target_new' is missing",
    ),
    "two slots": (
        {"prompt": "{} and {}", "subject": "X", "target_new": "Y", "target_true": "Z"},
        "record 1: prompt '{} and {}' has 2 places",
    ),
}


@pytest.mark.parametrize("case", sorted(BAD_RECORDS))
def test_malformed_edits(case: str, pytester: pytest.Pytester) -> None:
    """A malformed record is named by file, number and field."""
    record, message = BAD_RECORDS[case]
    good = {"prompt": "{} plays the", "subject": "Ann", "target_new": "lute"}
    file = pytester.path / "edits.json"
    file.write_text(json.dumps([good, record]), encoding="utf-8")
    result = collect(pytester, "--edit-counts", "1", "--edits", str(file))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "edits.json" in result.stderr.str()
    assert message in " ".join(result.stderr.str().split())


@pytest.mark.parametrize(
    "asked",
    ["not memit", "rome or memit", "rome-llama-mini-n10", "test_mmlu[rome", "safety", "command_line", "quality"],
)
def test_what_is_in_some_name_is_not_refused(asked: str, pytester: pytest.Pytester) -> None:
    """A part of an id, a file's name, an area, a negation: whatever pytest selects by is left to it."""
    result = collect(pytester, "-k", asked)
    assert result.ret in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}


def test_a_run_without_a_test_says_which_names_there_are(pytester: pytest.Pytester) -> None:
    """What selects nothing without being nearly a name ends as pytest's exit code 5, with one line that helps."""
    result = collect(pytester, "-k", "zebra")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(["editgate: no test is left by -k 'zebra', --model=llama-mini. Allowed: alphaedit, *"])


def test_ids_and_markers_select_exactly(pytester: pytest.Pytester) -> None:
    """`-m rome` selects ROME's tests alone, with ids of benchmark, editor, model and N."""
    result = collect(pytester, "-m", "rome")
    chosen = [line for line in result.outlines if "::" in line]
    assert any(line.endswith("test_mmlu[rome-llama-mini-n10]") for line in chosen)
    assert all("[rome-llama-mini" in line for line in chosen)


def test_header_says_what_the_run_is_about(pytester: pytest.Pytester) -> None:
    """Model, digest, editors, grid, device and store stand in the header."""
    result = collect(pytester, "-v")
    result.stdout.fnmatch_lines(
        [
            "profile default (the gate): model llama-mini; counterfact at N = *; all items; inconclusive is a fail",
            "editgate: model llama-mini (*), editors *memit, *rome*",
            "edits: counterfact at N = 1, 5, 10*",
            "store: *",
        ]
    )


def test_own_thresholds_and_hyperparameters_reach_the_tests(pytester: pytest.Pytester) -> None:
    """A file of one's own adds its known failure; with other hyperparameters a built-in editor has none."""
    file = pytester.path / "mine.toml"
    file.write_text(
        'editor = "noop"\n[known_failures]\nmodel = "llama-mini"\nreason = "it does nothing"\n'
        "measured_at = [1]\norders = 1\nfails = { efficacy = { 1 = [0.0, 1] } }\n",
        encoding="utf-8",
    )
    options = ("--editor=editgate.controls:NoOp", "--edit-counts=1", "-k", "test_efficacy", "-m", "noop")
    result = run_gate(pytester, f"--thresholds={file}", *options, files=("edit_quality",))
    result.assert_outcomes(xfailed=1, deselected=result.parseoutcomes().get("deselected", 0))


def test_questions_to_chat_models_are_left_out_of_other_runs(pytester: pytest.Pytester) -> None:
    """Of a base model no refusal is asked, not even as a test without parameters, which would be an error."""
    result = run_gate(pytester, "--collect-only", "-q", files=("safety",))
    assert result.ret == pytest.ExitCode.OK
    listed = "\n".join(result.outlines)
    assert "test_truthfulqa[" in listed
    assert "refusal" not in listed


def test_the_command_that_repeats_a_test_works_as_it_is_printed() -> None:
    """In the checkout a test is found by its id alone: no file beside the gate is taken for a project's settings."""
    test = "tests/editgate/gate/test_capability.py::test_gsm8k[rome-llama-mini-n10]"
    command = [
        sys.executable,
        "-m",
        "pytest",
        test,
        "--edit-counts=10",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    assert "1 test collected" in done.stdout, done.stdout + done.stderr
