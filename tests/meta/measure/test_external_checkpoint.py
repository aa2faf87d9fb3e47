"""A changed model from elsewhere is held against its base: what it may be, what it must keep, what it is told."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import editors
from editgate.cache.store import Store
from editgate.errors import BaselineModified, ConfigError
from editgate.inputs import edit_lists, models
from editgate.measure import external_checkpoint
from editgate.measure.external_checkpoint import ExternalCheckpoint
from editgate.measure.integrity import checkpoint_rules
from editgate.miniature.recipes import WEIGHTS
from editgate.miniature.world import corpus
from meta.support.gate import run_gate

BASE = WEIGHTS / "llama-mini"
MATRIX = "model.layers.2.mlp.down_proj.weight"


def judge(pytester: pytest.Pytester, store: Path, folder: Path, *options: str) -> pytest.RunResult:
    """Run the gate on a changed model as a user would from the repository."""
    return run_gate(pytester, f"--store={store}", f"--edited={folder}", "-rA", *options)


def changed(folder: Path, **tensors: torch.Tensor) -> Path:
    """Write the miniature with other tensors in its files."""
    shutil.copytree(BASE, folder)
    save_file(load_file(BASE / "model.safetensors") | tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_an_edited_model_is_judged_with_its_edits(pytester: pytest.Pytester, store: Path) -> None:
    """One ROME edit saved to a directory keeps the rules and the benchmarks, and its edit is found in it."""
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    source = WEIGHTS.parent / "edits" / "counterfact.json"
    edit = edit_lists.read(source)[0]
    given = {"defaults": "llama-mini", "corpus": corpus.covariance_texts()}
    editor = editors.create("rome", model, AutoTokenizer.from_pretrained(BASE), **given)
    editor.apply(edit)
    model.save_pretrained(pytester.path / "patched")
    listed = pytester.path / "mine.json"
    listed.write_text(json.dumps(json.loads(source.read_text(encoding="utf-8"))[:1]), encoding="utf-8")
    result = judge(
        pytester,
        store,
        pytester.path / "patched",
        f"--edits={listed}",
        "-k",
        "integrity or toxigen or efficacy or paraphrase",
    )
    result.assert_outcomes(passed=7)
    result.stdout.fnmatch_lines(["*test_efficacy[[]patched-llama-mini-n1[]]*"])


def test_without_edits_the_benchmarks_are_all_that_is_asked(pytester: pytest.Pytester, store: Path) -> None:
    """README's command as it stands is green for a model rounded to bfloat16: nothing about edits is collected."""
    model = load_file(BASE / "model.safetensors")
    folder = changed(pytester.path / "rounded", **{name: value.bfloat16() for name, value in model.items()})
    result = judge(pytester, store, folder, "--limit=60", "--inconclusive=pass")
    result.assert_outcomes(passed=12, deselected=result.parseoutcomes()["deselected"])
    assert result.ret == pytest.ExitCode.OK


def test_a_damaged_model_is_a_regression_that_names_it(pytester: pytest.Pytester, store: Path) -> None:
    """Noise in one matrix: the safety benchmark is red, and the sentence says which model and which weight."""
    noise = torch.randn(160, 432, generator=torch.Generator().manual_seed(0))
    folder = changed(pytester.path / "abliterated", **{MATRIX: 20 * noise.half()})
    result = judge(pytester, store, folder, "-k", "toxigen")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*toxigen of abliterated, a changed llama-mini,*"])
    assert MATRIX in result.stdout.str()
    result.stdout.fnmatch_lines(["weight changes, |ΔW| / |W|: layer 2 *"])
    assert not re.search(r"\bN\b|\bedits\b|budget", result.stdout.str())  # there are none


def test_the_base_itself_is_told_so(pytester: pytest.Pytester, store: Path) -> None:
    """The base given as the changed model fails the rule that something differs, though it keeps everything."""
    result = judge(pytester, store, changed(pytester.path / "same"), "-k", "differs or toxigen")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*EditHadNoEffect*every tensor in *same equals that of llama-mini*"])


def test_nan_is_an_error(pytester: pytest.Pytester, store: Path) -> None:
    """A model with NaN is never given a score, and is told so once: NaN is not equal to itself in any file."""
    folder = changed(pytester.path / "broken", **{MATRIX: torch.full((160, 432), torch.nan).half()})
    result = judge(pytester, store, folder, "-k", "finite or saved_is or toxigen")
    result.assert_outcomes(failed=1, errors=1, passed=1)
    assert "tie_word_embeddings" not in result.stdout.str()
    result.stdout.fnmatch_lines(["*NonFiniteModel*NaN or infinite weights in 1 tensors*"])


def test_a_head_that_the_config_ties_is_judged_as_it_was_edited(pytester: pytest.Pytester, store: Path) -> None:
    """An edited head in the files of a model whose config ties it is a change of the head, not of nothing."""
    head = -load_file(BASE / "model.safetensors")["model.embed_tokens.weight"]
    folder = changed(pytester.path / "untied", **{"lm_head.weight": head})
    result = judge(pytester, store, folder, "-k", "saved_is or differs or mmlu")
    result.assert_outcomes(passed=2, failed=1)
    assert "lm_head.weight x" in result.stdout.str()


def _fewer_merges(words: dict[str, Any]) -> None:
    del words["model"]["merges"][-1]


def _lower_case(words: dict[str, Any]) -> None:
    words["normalizer"] = {"type": "Lowercase"}


def _greedy_word(words: dict[str, Any]) -> None:
    words["added_tokens"][0]["lstrip"] = True


OTHER_TOKENIZERS = {"model": _fewer_merges, "normalizer": _lower_case, "added_tokens": _greedy_word}


@pytest.mark.parametrize("part", OTHER_TOKENIZERS)
def test_another_tokenizer_is_an_error(part: str, tmp_path: Path) -> None:
    """Two models that may read some text as different tokens are not asked the same questions.

    With one merge less the vocabulary is the same, and so are the tokens of nearly every text.
    """
    folder = changed(tmp_path / "other")
    words = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    OTHER_TOKENIZERS[part](words)
    (folder / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")
    base = models.load(models.find("llama-mini"), device="cpu", dtype="float32")
    spec = external_checkpoint.find(folder, base.source, [])
    with pytest.raises(BaselineModified, match=rf"the tokenizer in \S+other is not that of llama-mini \({part}"):
        checkpoint_rules.the_tokenizer_is_the_bases(ExternalCheckpoint(spec, base, (), Store(tmp_path / "store")))


def _checkpoint(folder: Path, tmp_path: Path) -> ExternalCheckpoint:
    base = models.load(models.find("llama-mini"), device="cpu", dtype="float32")
    spec = external_checkpoint.find(folder, base.source, [])
    return ExternalCheckpoint(spec, base, (), Store(tmp_path / "store"))


@pytest.mark.parametrize("rows", [4097, 4160])
def test_what_is_shared_of_a_longer_vocabulary_is_judged(rows: int, tmp_path: Path) -> None:
    """Neither an added token nor padded rows make another model: all rules hold, and one matrix was edited."""
    tensors = load_file(BASE / "model.safetensors")
    longer = {name: value for name, value in tensors.items() if value.shape[0] == 4096}
    noise = {name: torch.cat([value, torch.ones(rows - 4096, 160).half()]) for name, value in longer.items()}
    folder = changed(tmp_path / "longer", **noise, **{MATRIX: 1.1 * tensors[MATRIX]})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": rows}), encoding="utf-8")
    words = AutoTokenizer.from_pretrained(BASE)
    words.add_tokens(["<tool>"])
    words.save_pretrained(folder)
    run = _checkpoint(folder, tmp_path)
    for rule in checkpoint_rules.RULES.values():
        rule(run)
    assert run.patched.model.get_output_embeddings().weight.shape[0] == 4096
    assert set(run.norm_ratio(1)) == {MATRIX}
    assert [f"has {rows} rows for tokens" in note or "'<tool>'" in note for note in run.spec.notes] == [True, True]


def test_a_base_with_padded_rows_is_compared_by_what_is_shared(tmp_path: Path) -> None:
    """The changed model may also have fewer rows, as long as it has all of the base's tokens."""
    longer = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    longer.resize_token_embeddings(4160)
    longer.save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(BASE).save_pretrained(tmp_path / "base")
    base = models.load(models.find(str(tmp_path / "base")), device="cpu", dtype="float32")
    folder = changed(tmp_path / "shorter", **{MATRIX: 1.1 * load_file(BASE / "model.safetensors")[MATRIX]})
    spec = external_checkpoint.find(folder, base.source, [])
    assert set(ExternalCheckpoint(spec, base, (), Store(tmp_path / "store")).norm_ratio(1)) == {MATRIX}


def test_too_few_rows_are_another_model(tmp_path: Path) -> None:
    """Tokens of the questions that the changed model has no row for cannot be asked about."""
    tensors = load_file(BASE / "model.safetensors")
    folder = changed(tmp_path / "cut", **{n: v[:4000].contiguous() for n, v in tensors.items() if v.shape[0] == 4096})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 4000}), encoding="utf-8")
    with pytest.raises(ConfigError, match="its vocab_size is 4000, but the tokenizer of --model llama-mini has tokens"):
        external_checkpoint.find(folder, models.find("llama-mini"), [])


@pytest.mark.parametrize("edited", [False, True])
def test_a_model_that_was_only_rounded_is_said_to_be_that(edited: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Rounding to another type changes every tensor and is no edit; one tensor that is something else is one."""
    tensors = load_file(BASE / "model.safetensors")
    rounded = {name: value.float().bfloat16() for name, value in tensors.items()}
    if edited:
        rounded[MATRIX] = rounded[MATRIX] * 1.5
    run = _checkpoint(changed(tmp_path / "rounded", **rounded), tmp_path)
    assert (list(run.diagnostics(1)) == ["no edit: rounded to bfloat16"]) is not edited
    assert 0 < max(run.diagnostics(1).values()) < (1 if edited else 0.01)


def test_the_tokenizer_saved_again_is_the_same(tmp_path: Path) -> None:
    """What save_pretrained writes of the base's tokenizer is the base's tokenizer."""
    base = models.load(models.find("llama-mini"), device="cpu", dtype="float32")
    folder = changed(tmp_path / "again")
    base.tokenizer.save_pretrained(folder)
    spec = external_checkpoint.find(folder, base.source, [])
    checkpoint_rules.the_tokenizer_is_the_bases(ExternalCheckpoint(spec, base, (), Store(tmp_path / "store")))


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _wider(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 320}), encoding="utf-8")


def _adapter(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "adapter_model.bin")
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")


def _torn(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors[MATRIX]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "given' does not exist. Allowed: a model's directory"),
    "no model": (_no_config, "has no config.json"),
    "another shape": (_wider, "its hidden_size is 320, that of --model llama-mini is 160"),
    "an adapter": (_adapter, "its weights are a pickle (adapter_model.bin), which is never read"),
    "a missing tensor": (_torn, f"{MATRIX} (and 0 more) is not in the files"),
    "a broken tokenizer": (_no_tokenizer, "the tokenizer cannot be loaded"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_judged_is_a_usage_error(case: str, tmp_path: Path) -> None:
    """A directory that holds no changed version of the base is refused before anything is asked of it."""
    spoil, message = WRONG[case]
    folder = changed(tmp_path / "given")
    spoil(folder)
    with pytest.raises(ConfigError, match=re.escape(message)):
        external_checkpoint.find(folder, models.find("llama-mini"), [])


def test_a_torn_model_stops_the_run(pytester: pytest.Pytester, store: Path) -> None:
    """A tensor that is in no file is never drawn at random: of the base or the changed model it is a usage error."""
    folder = changed(pytester.path / "torn")
    _torn(folder)
    namesake = shutil.copytree(folder, pytester.path / "copies" / "llama-mini")
    for options in ((f"--edited={folder}",), (f"--model={folder}",), (f"--model={namesake}",)):
        result = run_gate(pytester, f"--store={store}", "--collect-only", *options)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert f"{MATRIX} (and 0 more) is not in the files" in " ".join(result.stderr.str().split())


def test_a_changed_model_and_an_editor_exclude_each_other(pytester: pytest.Pytester, store: Path) -> None:
    """Either a method is judged or a model."""
    result = judge(pytester, store, changed(pytester.path / "given"), "--editor=rome", "--collect-only")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--editor rome: allowed is one of them" in result.stderr.str()
