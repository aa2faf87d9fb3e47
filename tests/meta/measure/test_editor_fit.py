"""A method that a model does not suit is refused while tests are collected, and the others are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from editgate.inputs import models
from editgate.inputs.editor_specs import EditorSpec, built_in
from editgate.measure.editor_fit import refusals
from meta.support import tiny_models as tiny
from meta.support.gate import run_gate

FEW = {"num_key_value_heads": 1, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2}


def _saved(tmp_path: Path, family: str, **extra: object) -> Path:
    tiny.model(family, extra=extra).save_pretrained(tmp_path / family)
    tiny.tokenizer().save_pretrained(tmp_path / family)
    return tmp_path / family


def _spec(name: str, **changes: object) -> EditorSpec:
    return EditorSpec(name, name, tiny.settings(name, **changes))


def test_a_mixture_of_experts_is_refused_by_method(tmp_path: Path) -> None:
    """Those that write one MLP matrix are refused; those that need another one or none are not."""
    source = models.find(str(_saved(tmp_path, "mixtral", **FEW)))
    for name in ("rome", "memit", "ftl", "grace", "pmet", "alphaedit", "mend"):
        (said,) = refusals([(_spec(name), source)])
        assert said.startswith(f"{name} cannot edit mixtral: mixtral is a mixture of experts")
    assert refusals([(_spec("ike"), source), (_spec("grace", matrix="attention_out"), source)]) == []


def test_what_suits_is_not_refused(tmp_path: Path) -> None:
    """Every method goes with an ordinary model, known or detected; shipped models are not looked at."""
    for family in ("llama", "starcoder2"):
        source = models.find(str(_saved(tmp_path, family)))
        assert refusals([(_spec(spec.name), source) for spec in built_in()]) == []
    assert refusals([(_spec("rome", layers=(99,)), models.find("llama-mini"))]) == []


def test_a_run_of_nothing_that_can_edit_stops(pytester: pytest.Pytester, store: Path, tmp_path: Path) -> None:
    """Missing hyperparameters and layers that do not exist are said once, before any test runs."""
    folder, edits = _saved(tmp_path, "llama"), tmp_path / "edits.json"
    edits.write_text(
        '[{"prompt": "{} is in", "subject": "Velidor", "target_new": "Dorvik"}, '
        '{"prompt": "{} is in", "subject": "Kesterbridge", "target_new": "Dorvik"}]',
        encoding="utf-8",
    )
    given = (f"--store={store}", f"--model={folder}", f"--edits={edits}", "--edit-counts=1", "-k", "efficacy and rome-")
    result = run_gate(pytester, *given)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "llama: no hyperparameters for rome, rrome " in result.stderr.str()
