"""Hyperparameters of a user's own are found by method and model, and wrong ones are told with file and name."""

from __future__ import annotations

from pathlib import Path

import pytest

from editgate.errors import ConfigError
from editgate.inputs.hyperparameter_files import read
from editgate.options import settings
from editgate.options.options import Options

NUMBERS = "layers = [2]\nv_num_grad_steps = 25\nv_weight_decay = 1e-3\nclamp_norm_factor = 4.0\n"
KEYS = ("my-model", "gpt2-xl")


def written(folder: Path, name: str, text: str) -> Path:
    """The file with this text."""
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "text",
    [
        NUMBERS,
        f"source = 'mine'\n{NUMBERS}",
        f"[my-model]\nsource = 'mine'\n{NUMBERS}[other]\nlayers = [9]\n",
        f"[other]\nlayers = [9]\n[some]\naliases = ['My-Model']\n{NUMBERS}",
        f"[gpt2-xl]\nlayers = [9]\n[my-model]\n{NUMBERS}",
    ],
    ids=["bare", "bare with a source", "by name", "by alias", "by the best name"],
)
def test_the_models_numbers_are_found(tmp_path: Path, text: str) -> None:
    """A table goes by name or alias, the best name first; a file without tables holds for any model."""
    found = read(written(tmp_path, "rome.toml", text), KEYS)
    assert found["rome"]["layers"] == [2]
    assert set(found["rome"]) == {"layers", "v_num_grad_steps", "v_weight_decay", "clamp_norm_factor"}


def test_a_folder_holds_a_file_a_method(tmp_path: Path) -> None:
    """Each of its files is of the method that it is called after."""
    written(tmp_path, "rome.toml", NUMBERS)
    written(tmp_path, "ftl.toml", "layers = [3]\n")
    found = read(tmp_path, KEYS)
    assert found["ftl"] == {"layers": [3]}
    assert set(found) == {"rome", "ftl"}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("roma.toml", NUMBERS, "'roma' is no method"),
        ("rome.toml", "[other]\nlayers = [9]\n", "has tables for other, and this model goes by my-model, gpt2-xl"),
        ("rome.toml", f"{NUMBERS}[my-model]\nlayers = [9]\n", "stands outside of a table"),
        ("rome.toml", "layer = [2]\nv_rate = 0.1\n", "rome has no hyperparameter v_rate"),
        ("rome.toml", "[my-model]\naliases = 3\n", "aliases of 'my-model' are 3"),
        ("rome.toml", "layers = [2\n", "rome.toml"),
    ],
)
def test_wrong_files_are_usage_errors(tmp_path: Path, name: str, text: str, says: str) -> None:
    """Another name, another model's tables, unknown hyperparameters and broken TOML are refused, with the file."""
    with pytest.raises(ConfigError, match="--hyperparameters") as caught:
        read(written(tmp_path, name, text), KEYS)
    assert says in str(caught.value)


def test_they_reach_the_editor_and_the_command_that_repeats_a_test(tmp_path: Path) -> None:
    """The editor has the file's numbers, `--editor-arg` goes before them, and known failures are not theirs."""
    file = written(tmp_path, "rome.toml", NUMBERS)
    options = Options(model="llama-mini", editor=("rome",), editor_arg=("v_lr=0.3", "layers=[1]"), hyperparameters=file)
    chosen = settings.read(options, tmp_path)
    (rome,) = (spec for spec in chosen.editors if spec.name == "rome")
    assert rome.settings["clamp_norm_factor"] == 4.0
    assert (rome.settings["v_lr"], rome.settings["layers"]) == (0.3, [1])
    (model,) = (source for source in chosen.models if source.name == "llama-mini")
    assert chosen.known_failure(rome, model, "mmlu", 100) is None
    assert f"--hyperparameters={file}" in options.repeated()


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    """A file that is not there, and a folder without any, are told."""
    for place in (tmp_path / "rome.toml", tmp_path):
        with pytest.raises(ConfigError, match="--hyperparameters"):
            read(place, KEYS)
