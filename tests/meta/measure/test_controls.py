"""The gate is run on editors made to be caught; each must end in its own outcome and its own sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from editgate.cases import Case
from editgate.errors import BaselineModified, EditsDoNotAccumulate
from editgate.inputs.editor_specs import find
from editgate.measure.session import EvaluationSession
from editgate.miniature.recipes import WEIGHTS
from editgate.verdict.cell import evaluate_cell
from meta.support.settings_factory import miniature, settings

REPOSITORY = Path(__file__).parents[3]
GATE = tuple(
    str(REPOSITORY / "tests" / "editgate" / "gate" / f"test_{name}.py")
    for name in ("capability", "safety", "edit_quality", "integrity")
)


class Gate:
    """Runs the gate in this process on one control, with a store that all controls share (baselines are the same)."""

    def __init__(self, pytester: pytest.Pytester, store: Path) -> None:
        self.pytester, self.store = pytester, store

    def run(self, control: str, tests: str, *options: str) -> pytest.RunResult:
        """Run the tests that match `tests` on `editgate.controls:<control>` after two edits."""
        return self.pytester.runpytest_inprocess(
            *GATE,
            *(
                "--rootdir",
                str(REPOSITORY),
                "-c",
                str(REPOSITORY / "pyproject.toml"),
                "-p",
                "no:cacheprovider",
            ),
            *("-p", "no:xdist", "--edit-counts", "2", "--store", str(self.store), "-k", tests, "-rA"),
            *("--editor", f"editgate.controls:{control}", *options),
        )


@pytest.fixture
def gate(pytester: pytest.Pytester, store: Path) -> Gate:
    """The gate, ready for a control."""
    return Gate(pytester, store)


def test_noop_keeps_everything_and_fails_efficacy(gate: Gate) -> None:
    """An editor that does nothing passes the benchmarks and fails efficacy and the rule that something changes."""
    result = gate.run("NoOp", "noop and (mmlu or toxigen or efficacy or change_the_model)")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        ["*EditHadNoEffect*none of * tensors differs from the base*", "EFFICACY after 2 edits of llama-mini with noop*"]
    )


def test_vandal_is_a_regression(gate: Gate) -> None:
    """Noise in one matrix is a regression, told with numbers, floor and flipped items."""
    result = gate.run("Vandal", "vandal and (test_bbh or test_gsm8k)")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        ["*REGRESSION: gsm8k after 2 edits of llama-mini with vandal fell from*", "*default.toml*"]
    )


def test_nan_is_an_error_not_a_score(gate: Gate) -> None:
    """NaN weights are never scored: the rule fails, everything else is an error."""
    result = gate.run("Broken", "broken and (truthfulqa or stay_finite)")
    result.assert_outcomes(failed=1, errors=2)
    result.stdout.fnmatch_lines(["*NonFiniteModel*NaN*model.layers.1.mlp.down_proj*"])


def test_always_the_first_option_is_collapse(gate: Gate) -> None:
    """A model that always answers the first option is called collapsed, on safety too."""
    result = gate.run("FirstOption", "firstoption and (test_mmlu or test_toxigen)")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*COLLAPSE: mmlu*answers 'A' on 100%*", "*COLLAPSE: toxigen*answers 'No' on 100%*"])


def test_changing_the_base_is_an_error(gate: Gate) -> None:
    """An editor that spoils the model it was handed while returning a copy is stopped before anything is measured."""
    result = gate.run("changes_base", "changes_base and (test_toxigen or only_declared)")
    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines(["*BaselineModified*another object*"])


def test_keeping_only_the_last_edit_is_an_error(gate: Gate) -> None:
    """An editor whose edits do not accumulate is stopped; flat curves come from that."""
    result = gate.run("KeepsLast", "keepslast and (test_toxigen or accumulate)")
    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines(["*EditsDoNotAccumulate*Only the last edit is kept*"])


def test_leaking_into_the_next_trajectory_is_an_error(gate: Gate) -> None:
    """An editor that keeps state outside its instance is stopped."""
    result = gate.run("Leaks", "leaks and (test_toxigen or do_not_leak)")
    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines(["*StateLeaked*after another trajectory ran*"])


def test_a_wrapper_that_keeps_its_last_edit_is_an_error(tmp_path: Path) -> None:
    """A closed box is held to the same rules by what it says, and none of its benchmarks is given a number."""
    target = "editgate.controls:RemembersLast"
    chosen = settings(tmp_path, edit_counts="2", editor=[target])
    session = EvaluationSession(chosen, lambda _: None)
    with pytest.raises(EditsDoNotAccumulate, match="Only the last edit is kept"):
        evaluate_cell(session, Case(find(target), miniature(chosen), "toxigen", 2))


def test_what_one_method_spoils_is_not_the_next_ones_base(tmp_path: Path) -> None:
    """After a method has changed the shared tokenizer, the run goes on with one from the files."""
    chosen = settings(tmp_path, edit_counts="2", editor=["editgate.controls:FlipsPadding"])
    session = EvaluationSession(chosen, lambda _: None)
    source, spec = miniature(chosen), find("editgate.controls:FlipsPadding")
    for _ in range(2):  # the second time it is read from the store
        with pytest.raises(BaselineModified):
            session.check(session.trajectory(spec, source), "the_tokenizer_stays_as_it_is")
        assert session.model(source).tokenizer.padding_side == "right"


def test_an_edited_untied_head_is_not_reverted(gate: Gate, tmp_path: Path) -> None:
    """An edit of an untied output head reaches the benchmark; lm-eval's own wrapper would tie it again."""
    untied = tmp_path / "untied-mini"
    model = AutoModelForCausalLM.from_pretrained(WEIGHTS / "llama-mini")
    model.lm_head.weight = type(model.lm_head.weight)(model.lm_head.weight.detach().clone())
    model.config.tie_word_embeddings = False
    model.save_pretrained(untied)
    AutoTokenizer.from_pretrained(WEIGHTS / "llama-mini").save_pretrained(untied)
    shutil.copy(WEIGHTS / "llama-mini" / "manifest.json", untied)  # says that it knows the miniature's world
    result = gate.run("EditsHead", "editshead-untied-mini and test_triviaqa", "--model", str(untied))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*REGRESSION: triviaqa after 2 edits of untied-mini*"])
