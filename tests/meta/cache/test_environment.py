"""No number of one model, library or machine is shown for another's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from editgate.cache import environment
from editgate.cache.store import Store
from editgate.inputs import models
from editgate.inputs.unedited_model import LoadedModel
from editgate.measure.external_checkpoint import ExternalCheckpoint, ExternalCheckpointSpec
from editgate.measure.session import EvaluationSession
from editors import Edit
from meta.support.settings_factory import miniature, settings

EDIT = Edit("{} lives in", subject="Ivan Relnik", target_new="Bristol")


@pytest.fixture(scope="module")
def base() -> LoadedModel:
    """The miniature."""
    return models.load(models.find("llama-mini"), device="cpu", dtype="float32")


def _with_config(base: LoadedModel, **changed: object) -> LoadedModel:
    """The same weights, by reference, under another configuration."""
    model = copy.copy(base.model)
    model.config = copy.deepcopy(base.model.config)
    model.config.update(changed)
    return replace(base, model=model)


def _with_end(base: LoadedModel, token: int) -> LoadedModel:
    model = copy.copy(base.model)
    model.generation_config = copy.deepcopy(base.model.generation_config)
    model.generation_config.eos_token_id = token
    return replace(base, model=model)


@pytest.mark.parametrize(
    "other",
    [
        lambda base: _with_config(base, rope_parameters={"rope_theta": 500.0, "rope_type": "default"}),
        lambda base: _with_config(base, rms_norm_eps=1e-3),
        lambda base: _with_end(base, 7),
        lambda base: replace(base, model=copy.deepcopy(base.model).to(torch.bfloat16)),
    ],
    ids=["rotary base", "norm", "end of text", "type"],
)
def test_what_changes_answers_changes_the_key(base: LoadedModel, other: Callable[[LoadedModel], LoadedModel]) -> None:
    """The same weights, run in another way, are another model."""
    assert environment.conditions(other(base)) != environment.conditions(base)


def test_where_a_model_lies_is_no_part_of_it(base: LoadedModel) -> None:
    """A model that was moved finds what was measured of it."""
    assert environment.conditions(_with_config(base, _name_or_path="elsewhere")) == environment.conditions(base)


def test_another_special_token_is_another_tokenizer(base: LoadedModel, tmp_path: Path) -> None:
    """A generation ends where the tokenizer says so: that is in no vocabulary."""
    tokenizer = AutoTokenizer.from_pretrained(base.source.location)
    tokenizer.eos_token_id = tokenizer.pad_token_id
    tokenizer.save_pretrained(tmp_path)
    base.model.save_pretrained(tmp_path)
    other = models.load(models.find(str(tmp_path)), device="cpu", dtype="float32")
    assert other.tokenizer_digest != base.tokenizer_digest


def test_a_changed_model_is_measured_again_with_another_library(
    base: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint judged by an older lm-eval keeps none of its scores under a newer one."""
    run = ExternalCheckpoint(
        ExternalCheckpointSpec("patched", "edited:", folder=Path(base.source.location)), base, [EDIT], Store(tmp_path)
    )
    before = run.key(1)
    assert run.key(1) == before
    monkeypatch.setattr(environment, "versions", lambda: {"lm_eval": "0.0.1"})
    assert run.key(1) != before


def test_a_baseline_is_measured_again_with_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and after are compared only as one version scored them; the other keeps its own."""
    chosen = settings(tmp_path, edit_counts="1", limit=5)
    asked: list[str] = []

    def baseline() -> None:
        session = EvaluationSession(chosen, asked.append)
        session.baseline(miniature(chosen), "toxigen")

    baseline()
    baseline()
    assert sum("baseline of toxigen" in line for line in asked) == 1
    monkeypatch.setattr(environment, "versions", lambda: {"lm_eval": "0.0.1"})
    baseline()
    assert sum("baseline of toxigen" in line for line in asked) == 2
