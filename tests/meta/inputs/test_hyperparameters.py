"""Hyperparameters that a model lacks are told once, with text to paste; a user's own file or folder gives them."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

import editors
from editgate.errors import ConfigError
from editgate.inputs import editor_specs, missing_hyperparameters, models
from editgate.inputs.models import ModelSource
from editgate.inputs.other_forms import gguf
from editgate.miniature.recipes import WEIGHTS
from editgate.options.options import Options
from editgate.options.settings import read
from editors.core.declared import required_names
from editors.core.hyperparameters import defaults, tables
from editors.core.registry import built_in
from meta.inputs.test_edit_lists import FLAT
from meta.support.gate import run_gate

ROME = "[rome]\nlayers = [2]\nv_num_grad_steps = 3\nv_weight_decay = 0.5\nclamp_norm_factor = 4.0\n"


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A folder of a model that nobody has hyperparameters for, with an edit beside it."""
    folder = tmp_path / "Stranger-1B"
    shutil.copytree(WEIGHTS / "llama-mini", folder, ignore=shutil.ignore_patterns("manifest.json"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "edits.json").write_text(json.dumps([FLAT, FLAT | {"prompt": "Ann Ray says"}]), encoding="utf-8")
    return folder


def _settings(folder: Path, place: Path, **given: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401
    options = {"model": str(folder), "edits": str(folder.parent / "edits.json"), "edit_counts": "1"}
    chosen = read(Options.of(options | {"hyperparameters": place} | given), folder.parent / "store")
    return {spec.name: dict(spec.settings) for spec in chosen.editors if spec.settings}


@pytest.mark.parametrize("method", editors.names())
def test_required_names_are_those_of_the_record(method: str) -> None:
    """What is read from the source without importing torch agrees with the class itself."""
    fields = built_in(method).Hyperparameters.model_fields
    assert list(required_names(method)) == [name for name, field in fields.items() if field.is_required()]


@pytest.mark.parametrize(("file", "depth"), [("SmolLM2-135M-Instruct.Q4_1.gguf", 30), ("gemma-3-270m-q4_k_m.gguf", 18)])
def test_what_is_shipped_for_a_real_model_is_found_by_its_files_name(file: str, depth: int) -> None:
    """ROME, MEMIT, FT-L, GRACE and AlphaEdit have all that they need, with evidence, and write blocks that exist."""
    key = gguf.base_name(Path(file)).lower()
    for method in ("rome", "memit", "ftl", "grace", "alphaedit"):
        table = tables(method)[key]
        assert "editgate.tune" in table["source"], method
        assert "efficacy" in table["source"], method
        values = built_in(method).Hyperparameters.model_validate(defaults(method, key)).model_dump()
        assert max(values.get("layers") or [values["layer"]]) < depth, method


def test_what_lacks_hyperparameters_is_told_at_collection_once(pytester: pytest.Pytester, stranger: Path) -> None:
    """No method that was asked for can run: the run ends with the names, the way out and a table to paste."""
    options = (f"--model={stranger}", f"--edits={stranger.parent / 'edits.json'}", "--edit-counts=1")
    result = run_gate(pytester, *options, "-k", "rome or memit", files=("edit_quality", "integrity"))
    said = result.stderr.str()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said.count("no hyperparameters for") == 1
    assert "memit, rome, rrome" in said
    assert "--hyperparameters=hyperparameters.toml" in said
    pasted = stranger.parent / "hyperparameters.toml"
    pasted.write_text(said[said.index("[memit]") :], encoding="utf-8")
    assert set(_settings(stranger, pasted)) == {"memit", "rome", "rrome"}


def test_what_needs_none_still_runs(pytester: pytest.Pytester, stranger: Path) -> None:
    """Beside a method that lacks some, one that has defaults for every model is run; the lack is said once."""
    options = (f"--model={stranger}", f"--edits={stranger.parent / 'edits.json'}", "--edit-counts=1")
    result = run_gate(pytester, *options, "--collect-only", "-k", "rome or kn", files=("edit_quality",))
    assert result.ret == pytest.ExitCode.OK
    assert result.stdout.str().count("no hyperparameters for rome, rrome") == 1


RULES = {
    ("rome", 30, "llama"): [5], ("rome", 48, "gpt2"): [17], ("rome", 28, "gptj"): [5], ("rome", 12, "gpt2"): [4],
    ("memit", 28, "gptj"): [3, 4, 5, 6, 7, 8], ("memit", 32, "llama"): [4, 5, 6, 7, 8], ("memit", 5, "llama"): [1],
    ("alphaedit", 16, "gemma3"): [2, 3, 4],
}  # fmt: skip


@pytest.mark.parametrize(("case", "layers"), RULES.items())
def test_the_rule_of_thumb_is_relative_depth(case: tuple[str, int, str], layers: list[int]) -> None:
    """Layers stand at the published fraction of the depth, within the model, and the loss at its last block."""
    values = tomllib.loads(f"[x]  # {missing_hyperparameters.rule_of_thumb(*case)}")["x"]
    assert values["layers"] == layers
    assert values["v_loss_layer"] == case[1] - 1


FORMS = {
    "a table for the editor": ("own.toml", ROME),
    "a table for the model": ("rome.toml", ROME.replace("[rome]", '["stranger-1b"]\nsource = "x"')),
    "an alias": ("rome.toml", ROME.replace("[rome]", '[other]\naliases = ["Stranger-1B"]')),
    "in a folder": ("folder/rome.toml", ROME.replace("[rome]", '["stranger-1b"]')),
}


@pytest.mark.parametrize("case", FORMS)
def test_a_file_gives_hyperparameters(case: str, stranger: Path) -> None:
    """By editor, by model, by alias, or as a folder; `--editor-arg` goes before it."""
    name, text = FORMS[case]
    place = stranger.parent / name
    place.parent.mkdir(exist_ok=True)
    place.write_text(text, encoding="utf-8")
    given = place.parent if "folder" in name else place
    expected = {"layers": [2], "v_num_grad_steps": 3, "v_weight_decay": 0.5, "clamp_norm_factor": 4.0}
    assert _settings(stranger, given) == {"rome": expected}
    changed = _settings(stranger, given, editor="rome", editor_arg="v_num_grad_steps=5")
    assert changed == {"rome": expected | {"v_num_grad_steps": 5}}
    assert not missing_hyperparameters.missing(editor_specs.find("rome", expected), models.find(str(stranger)))


WRONG = {
    "no file": (None, "", "neither a TOML file nor a folder"),
    "not TOML": ("rome.toml", "[rome", "not TOML"),
    "bare": ("rome.toml", "layers = [2]", "layers stands outside of a table"),
    "empty": ("rome.toml", "", "it is empty"),
    "another model's": (
        "rome.toml",
        ROME.replace("[rome]", "[other]"),
        "nothing for the model Stranger-1B; it has other",
    ),
    "which editor": ("own.toml", ROME.replace("[rome]", "[other]"), "which name no editor"),
    "both": ("own.toml", ROME + "[other]\n", "tables for editors .rome. and for others"),
    "an unknown name": ("own.toml", ROME + "lr = 1\n", "rome has no hyperparameter lr"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_says_nothing_is_refused(case: str, stranger: Path) -> None:
    """Each fault is one sentence before a model is loaded: what nobody reads would be other numbers than were asked."""
    name, text, message = WRONG[case]
    place = stranger.parent / (name or "missing.toml")
    if name:
        place.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"--hyperparameters '{place}'.*{message}"):
        _settings(stranger, place)


def test_a_model_of_unknown_depth_is_offered_no_rule() -> None:
    """Without a config.json here nothing is guessed."""
    source: ModelSource = models.find("llama-mini")
    nowhere = ModelSource("org--m", "org/m", source.documents, source.corpus, tuple, miniature=False)
    said = missing_hyperparameters.explain(nowhere, [editor_specs.find("rome")])
    assert "no hyperparameters for rome" in said
    assert "Rule of thumb" not in said
