"""The stand-in for EasyEdit has the facts on record of the real package, which has them too where it is installed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from editors.external.easyedit import method, package, second_moments
from meta.external.easyedit_facts import observed, on_record
from meta.support import tiny_models as tiny

needs_easyedit = pytest.mark.skipif(
    find_spec("easyeditor") is None, reason="EasyEdit is not installed: docs/easyedit.md"
)


def test_the_stand_in_has_the_facts_of_the_real_package(installed: Path) -> None:
    """It pads the same methods right; its methods take the same arguments and have the same quirks."""
    names = package.names()
    assert installed.is_dir()
    assert len(names) == 7
    record = on_record()
    assert observed(names) == {
        "padded_right": record["padded_right"],
        "methods": {name: record["methods"][name] for name in names},
    }


def test_a_method_needs_a_subject_if_it_looks_for_its_token(installed: Path) -> None:
    """Methods with the hyperparameter `fact_token` do, and no others: edits without a subject are refused for them."""
    assert installed.is_dir()
    needing = [name for name in package.names() if method(name).needs_subject]
    assert needing == ["AlphaEdit", "ROME"]


@needs_easyedit
def test_the_installed_easyedit_has_the_facts_on_record() -> None:
    """What the adapter reads off another release may differ; what it takes for granted must not."""
    record = on_record()
    assert observed(package.names()) == {"padded_right": record["padded_right"], "methods": record["methods"]}


@needs_easyedit
def test_the_installed_easyedit_reads_the_second_moments_that_are_written(tmp_path: Path) -> None:
    """Its `layer_stats` finds the file and gives C back, without asking for Wikipedia."""
    model = tiny.model()
    moments = tiny.moments(model)
    record = SimpleNamespace(
        stats_dir=str(tmp_path),
        mom2_dataset="wikipedia",
        mom2_n_samples=100000,
        mom2_dtype="float32",
        rewrite_module_tmp="model.layers.{}.mlp.down_proj",
        layers=[1],
        device="cpu",
    )
    second_moments.write("MEMIT", record, model, moments)
    package.fresh("MEMIT")
    real = import_module("easyeditor.models.rome.layer_stats")
    path = "model.layers.1.mlp.down_proj"
    asked = {"sample_size": 100000, "precision": "float32", "hparams": record, "to_collect": ["mom2"]}
    found = real.layer_stats(model, tiny.tokenizer(), path, str(tmp_path), "wikipedia", **asked).mom2.moment()
    assert torch.equal(found, moments[path].float())
