"""The whole path of a model from elsewhere, with the hub switched off: directory, documents, edits and text on disk.

With `EDITGATE_SAMPLES` naming a folder of real records (CounterFact and QAEdit, GSM8K, BBH) the same is run on them,
with a random model of Llama-2-7B's depth under its name, so that the hyperparameters are those that are shipped for it
(about two minutes a method):

    EDITGATE_SAMPLES=DIR pytest tests/meta/inputs/test_real_path.py -rA
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from editgate.inputs.models import MINIATURE
from editgate.miniature.recipes import WEIGHTS
from meta.support import tiny_models as tiny
from meta.support import toy

REPOSITORY = Path(__file__).parents[3]
FILES = tuple(
    str(REPOSITORY / "tests" / "editgate" / "gate" / f"test_{name}.py")
    for name in ("capability", "edit_quality", "integrity")
)


def _gate(pytester: pytest.Pytester, tests: str, *options: str) -> pytest.RunResult:
    """The gate in this process, on these options."""
    return pytester.runpytest_inprocess(
        *FILES, "--rootdir", str(REPOSITORY), "-c", str(REPOSITORY / "pyproject.toml"), "-p", "no:cacheprovider",
        "-p", "no:xdist", f"--store={pytester.path / 'store'}", "-rA", "-k", tests, "--edit-counts=2", *options,
    )  # fmt: skip


def _told(result: pytest.RunResult) -> str:
    return " ".join((result.stdout.str() + result.stderr.str()).split())


@pytest.fixture
def given(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A tiny random model, edits, documents and a text on disk, as options; the hub is switched off."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    place = pytester.path
    tiny.model("llama", extra={"max_position_embeddings": 512}).save_pretrained(place / "tiny-random")
    tiny.tokenizer().save_pretrained(place / "tiny-random")
    edits = "\n".join(json.dumps(edit.to_dict()) for edit in tiny.EDITS)
    (place / "edits.jsonl").write_text(edits, encoding="utf-8")
    (place / "text.txt").write_text("\n\n".join(tiny.CORPUS), encoding="utf-8")
    toy.write_documents(place / "documents")
    return [
        f"--model={place / 'tiny-random'}",
        f"--edits={place / 'edits.jsonl'}",
        f"--documents={place / 'documents'}",
        f"--covariance-text={place / 'text.txt'}",
    ]


def test_at_chance_is_not_judged(pytester: pytest.Pytester, given: list[str]) -> None:
    """A random model is edited through the whole path; at chance it cannot be judged: an error, not a pass.

    The edited model is not even asked: the store has items of the unedited model alone.
    """
    settings = ("layers=[1]", "norm_constraint=0.02", "lr=0.01")
    result = _gate(
        pytester, "ftl and (test_gsm8k or accumulate)", *given, "--editor=ftl", *(f"--editor-arg={s}" for s in settings)
    )
    result.assert_outcomes(errors=1, passed=1, deselected=result.parseoutcomes().get("deselected", 0))
    assert "BaselineAtChance: gsm8k: the unedited model scores 0.000 on 6 items" in _told(result)
    assert len([*(pytester.path / "store" / "items").glob("*.json")]) == 2  # gsm8k, and of the zero-edits rule


def test_without_hyperparameters_nothing_is_guessed(pytester: pytest.Pytester, given: list[str]) -> None:
    """A method that no table has values for says which to give; what is given is taken."""
    result = _gate(pytester, "memit and accumulate", *given, "--editor=memit", "--editor-arg=layers=[0,1]")
    assert "tiny-random: no hyperparameters for memit" in _told(result)
    assert "such as v_num_grad_steps, v_weight_decay, clamp_norm_factor, mom2_update_weight of memit" in _told(result)


def test_the_same_without_documents(
    pytester: pytest.Pytester, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `--documents` the hub is asked. It cannot be reached, which is one sentence and no code of a library."""

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    settings = ("layers=[1]", "norm_constraint=0.02")
    options = [option for option in given if not option.startswith("--documents")]
    result = _gate(pytester, "ftl and test_gsm8k", *options, "--editor=ftl", *(f"--editor-arg={s}" for s in settings))
    assert "--documents DIR" in _told(result)
    assert "site-packages" not in _told(result)
    assert result.parseoutcomes()["errors"] == 1


@pytest.mark.skipif("EDITGATE_SAMPLES" not in os.environ, reason="EDITGATE_SAMPLES names no folder of real records")
@pytest.mark.parametrize(("method", "edits"), [("rome", "counterfact-flat-600"), ("memit", "qaedit-200")])
def test_real_records_end_to_end(
    method: str, edits: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A narrow random model of 32 blocks takes real edits and is asked real GSM8K and BBH items: it is not judged."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    samples, place = Path(os.environ["EDITGATE_SAMPLES"]), pytester.path
    result = _gate(
        pytester,
        f"{method} and (test_gsm8k or test_bbh or test_efficacy or accumulate)",
        f"--model={_narrow_llama(place / 'Llama-2-7b-hf')}",
        f"--documents={_real_documents(samples, place / 'documents')}",
        f"--edits={samples / edits}.json",
        f"--covariance-text={samples / 'gsm8k-train-100.jsonl'}",
        f"--editor={method}",
        "--limit=4",
    )
    outcomes = result.parseoutcomes()
    assert outcomes["errors"] == 2
    assert outcomes["passed"] + outcomes.get("failed", 0) == 2
    assert all(f"BaselineAtChance: {name}: the unedited model" in _told(result) for name in ("gsm8k", "bbh"))


def _narrow_llama(folder: Path) -> Path:
    """A random model of 32 blocks and width 64, with the miniature's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS / "llama-mini")
    config = AutoConfig.for_model(
        "llama", vocab_size=len(tokenizer), hidden_size=64, intermediate_size=172, num_hidden_layers=32,
        num_attention_heads=4, max_position_embeddings=8192, initializer_range=0.05,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _real_documents(samples: Path, folder: Path) -> Path:
    """GSM8K and BBH as published, and the miniature's ToxiGen, which the rule on zero edits asks."""
    shutil.copytree(MINIATURE / "documents" / "toxigen", folder / "toxigen")
    for file in samples.glob("bbh-*-60.json"):
        subtask = folder / "bbh" / file.name.removeprefix("bbh-").removesuffix("-60.json")
        subtask.mkdir(parents=True)
        shutil.copy(file, subtask / "test.json")
    (folder / "gsm8k").mkdir()
    shutil.copy(samples / "gsm8k-test-300.jsonl", folder / "gsm8k" / "test.jsonl")
    shutil.copy(samples / "gsm8k-train-100.jsonl", folder / "gsm8k" / "train.jsonl")
    short = "[gsm8k]\nmax_new_tokens = 16\n[bbh]\nmax_new_tokens = 16\n"  # what it writes is noise in any case
    (folder / "settings.toml").write_text(short, encoding="utf-8")
    return folder
