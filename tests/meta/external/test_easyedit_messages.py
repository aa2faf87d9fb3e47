"""What a user reads who has no EasyEdit, half of one, or a hyperparameter file that does not fit: one line, early."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from editgate.errors import ConfigError
from editgate.inputs import editor_specs
from editgate.measure.editor_fit import refusals
from editors import EditorError, EditorNotFound, ForeignFailure, HyperparameterError, UnsupportedModel, check_settings
from editors.external.easyedit import package
from meta.external.test_easyedit import after, editor_of, settings
from meta.support.tiny_runs import loaded


def test_names_and_files_are_checked_first(installed: Path) -> None:
    """An unknown method, a missing or absent file is told before a model is loaded; the id tells it from ours."""
    known = "AlphaEdit, GRACE, IKE, LoRA, ROME, SERAC, WISE"
    with pytest.raises(EditorNotFound, match=f"EasyEdit has no method 'RAG'; it has {known}$"):
        check_settings("easyedit:RAG", {})
    with pytest.raises(HyperparameterError, match="'easyedit:ROME' needs the hyperparameter hparams"):
        check_settings("easyedit:ROME", {})
    with pytest.raises(HyperparameterError, match=r"hparams='gone.yaml' is not a file; give one of EasyEdit's own"):
        check_settings("easyedit:ROME", {"hparams": "gone.yaml"})
    assert editor_specs.find("easyedit:ROME", settings(installed, "ROME")).name == "easyedit_rome"


def test_upper_and_lower_case_do_not_matter(installed: Path) -> None:
    """`easyedit:alpha-edit` is AlphaEdit."""
    assert package.named("alpha-edit") == "AlphaEdit"
    assert editor_specs.find("easyedit:rome", settings(installed, "ROME")).name == "easyedit_rome"


def test_the_file_of_another_method_is_refused_with_the_printed_reason(installed: Path) -> None:
    """EasyEdit prints why its assertion fails; the line is in the message, at collection."""
    with pytest.raises(ConfigError, match=r"hparams=.* is no file for EasyEdit's ROME: .* AssertionError: ") as found:
        editor_specs.find("easyedit:ROME", settings(installed, "GRACE"))
    assert "ROMEHyperParams can not load from" in str(found.value)
    assert "alg_name is GRACE" in str(found.value)
    assert "\n" not in str(found.value)


def test_an_assertion_without_any_reason_is_quoted(installed: Path) -> None:
    """What was printed before it is not its reason; its source is."""
    with pytest.raises(ForeignFailure, match=r"AssertionError: assert train_ds is not None$"):
        after(editor_of(installed, "IKE", "use_icl_examples: true"), 1)


def test_layers_that_the_model_lacks_are_refused_at_collection(installed: Path) -> None:
    """The layers of a 7B model are one sentence before the run, and the same error where no harness is."""
    given = settings(installed, "ROME", "layer_module_tmp: model.layers.{}", "v_loss_layer: 31", "ln_f_module: norm")
    spec = editor_specs.find("easyedit:ROME", given)
    source = loaded(installed / "model").source
    editor_of(installed, "GRACE").model.save_pretrained(source.location)
    (said,) = refusals([(spec, source)])
    assert "lacks: v_loss_layer: model.layers.31, ln_f_module: norm. It has 3 blocks, from 0." in said
    with pytest.raises(ForeignFailure, match=r"UnsupportedModel: .* v_loss_layer: model.layers.31") as found:
        editor_of(installed, "ROME", "layer_module_tmp: model.layers.{}", "v_loss_layer: 31")
    assert isinstance(found.value.__cause__, UnsupportedModel)


def test_modules_that_an_adapter_looks_for_in_vain_are_refused_at_collection(installed: Path) -> None:
    """The `target_modules` of another architecture, and blocks that peft would pass over without a word."""
    given = settings(installed, "LoRA", "layers: [1, 7]", "target_modules: [q_proj, c_attn]")
    spec = editor_specs.find("easyedit:LoRA", given)
    source = loaded(installed / "model").source
    editor_of(installed, "GRACE").model.save_pretrained(source.location)
    (said,) = refusals([(spec, source)])
    assert "target_modules: c_attn, layers: 7. It has 3 blocks, from 0." in said


@pytest.mark.parametrize("wants_steps", [True, False])
def test_adalora_is_refused_where_peft_wants_steps(
    installed: Path, monkeypatch: pytest.MonkeyPatch, *, wants_steps: bool
) -> None:
    """EasyEdit names no number of steps: a peft that wants one is told at collection, and one that does not is used."""

    def config(**_given: object) -> None:
        if wants_steps:
            raise ValueError("AdaLoRA does not work when `total_step` is None, supply a value > 0.")

    peft = ModuleType("peft")
    vars(peft).update(AdaLoraConfig=config, __version__="0.18.0", __spec__=ModuleSpec("peft", None))
    monkeypatch.setitem(sys.modules, "peft", peft)
    editor_specs.find("easyedit:ROME", settings(installed, "ROME", "lora_type: adalora"))  # it has no use for the field
    given = settings(installed, "LoRA", "lora_type: adalora")
    said = r"lora_type: adalora, which peft 0.18.0 .* \(AdaLoRA .*\)\. Write lora_type: lora"
    with pytest.raises(ConfigError, match=said) if wants_steps else nullcontext():
        editor_specs.find("easyedit:LoRA", given)
        after(editor_of(installed, "LoRA", "lora_type: adalora"), 1)


def test_a_source_that_does_not_tell_the_padding_is_refused(installed: Path) -> None:
    """Without EasyEdit's own list of methods that it pads right, no side is guessed."""
    (installed / "easyeditor" / "editors" / "editor.py").write_text("class BaseEditor: ...\n", encoding="utf-8")
    with pytest.raises(EditorError, match=r"does not say in the form .* which methods are padded on the right"):
        package.padded_right()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import higher_than_installed", "No module named 'higher_than_installed'; it needs pip install higher omega"),
        ("import transformers.gone", "has no module transformers.gone, .* install .* transformers==5.23"),
        ("raise RuntimeError('operator torchvision::nms does not exist')", "torchvision must be the build for this"),
    ],
)
def test_half_an_installation_says_what_is_missing(installed: Path, line: str, said: str) -> None:
    """A package that EasyEdit imports, a module that transformers dropped, a torchvision for another torch."""
    (installed / "easyeditor" / "util" / "alg_dict.py").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"EasyEdit cannot be imported: .*{said}") as found:
        editor_specs.find("easyedit:ROME", {"hparams": "rome.yaml"})
    assert "\n" not in str(found.value)


@pytest.mark.skipif(find_spec("easyeditor") is not None, reason="EasyEdit is installed here, so it is not missing")
def test_without_easyedit_one_line_says_how_to_get_it() -> None:
    """A missing EasyEdit is a usage error of one line, whose advice can be followed."""
    advice = r"EasyEdit is not installed: clone .* on PYTHONPATH, and pip install higher"
    with pytest.raises(ConfigError, match=advice) as found:
        editor_specs.find("easyedit:ROME", {"hparams": "rome.yaml"})
    assert "\n" not in str(found.value)
