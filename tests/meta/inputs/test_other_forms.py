"""GGUF files and PEFT adapters become directories in the store, once, or are one sentence."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from editgate.errors import ConfigError
from editgate.inputs import model_loading, models
from editgate.inputs.models import ModelSource
from editgate.inputs.other_forms import adapter, conversion, gguf
from editgate.measure import external_checkpoint
from editgate.miniature.recipes import WEIGHTS

BASE = WEIGHTS / "llama-mini"
MODULE = "model.layers.2.mlp.down_proj"
REAL = os.environ.get("EDITGATE_GGUF", "")  # a real model's file


def _file(tmp_path: Path, name: str = "Some-135M.Q4_1.gguf", data: bytes = b"GGUF\3\0\0\0") -> Path:
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


NO_GGUF = {
    "a pointer": ("a.gguf", b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS.*git lfs pull"),
    "another file": ("a.gguf", b"PK\3\4", "is no GGUF file: it begins with"),
    "an empty file": ("a.gguf", b"", "is no GGUF file: it begins with b''"),
    "a part": ("a-00001-of-00002.gguf", b"GGUF", "is one of several parts. Join them: llama-gguf-split --merge"),
}


@pytest.mark.parametrize("case", NO_GGUF)
def test_what_is_no_whole_gguf_file_is_one_sentence(case: str, tmp_path: Path) -> None:
    """Refused before anything is read of it, as a base and as a changed model."""
    name, data, message = NO_GGUF[case]
    file = _file(tmp_path, name, data)
    with pytest.raises(ConfigError, match=f"--model '{file}' {message}"):
        models.find(str(file), store=tmp_path)
    with pytest.raises(ConfigError, match=f"--edited '{file}' {message}"):
        external_checkpoint.find(file, models.find("llama-mini"), [], tmp_path)


def test_without_the_package_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package gguf is small and optional: what installs it is said within a second."""
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    began = time.monotonic()
    with pytest.raises(ConfigError, match=r"needs the package gguf. Install it: pip install 'editgate\[gguf\]'"):
        models.find(str(_file(tmp_path)), store=tmp_path)
    assert time.monotonic() - began < 1


def test_a_name_without_its_quantization_finds_hyperparameters() -> None:
    """Hyperparameters are a model's, however it was rounded."""
    names = (
        "SmolLM2-135M-Instruct.Q4_1",
        "gemma-3-270m-q4_k_m",
        "Llama-2-7b-hf.f16",
        "mistral-7B-v0.1-IQ3_XXS",
        "plain",
    )
    assert [gguf.base_name(Path(f"/x/{name}.gguf")) for name in names] == [
        "SmolLM2-135M-Instruct",
        "gemma-3-270m",
        "Llama-2-7b-hf",
        "mistral-7B-v0.1",
        "plain",
    ]


def test_a_conversion_is_done_once_and_left_whole(tmp_path: Path) -> None:
    """What was cut short leaves no folder, what was finished is not done again, and other bytes are another folder."""
    file = _file(tmp_path)
    folder = conversion.place(tmp_path, "some", [file])
    calls: list[Path] = []

    def write(trial: Path) -> None:
        calls.append(trial)
        (trial / "config.json").write_text("{}", encoding="utf-8")
        if len(calls) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        conversion.make(folder, "x", write)
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == []
    conversion.make(folder, "x", write)
    conversion.make(folder, "x", write)
    assert len(calls) == 2
    assert (folder / "config.json").is_file()
    file.write_bytes(b"GGUF4")
    assert conversion.place(tmp_path, "some", [file]) != folder


def _adapter(folder: Path, *, module: str = MODULE, inputs: int = 432, **config: Any) -> Path:  # noqa: ANN401
    """A LoRA of rank 2 as peft writes it."""
    folder.mkdir()
    told = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 6, "target_modules": ["down_proj"],
            "layers_to_transform": [2], "base_model_name_or_path": "org/elsewhere", "inference_mode": True}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(told | config), encoding="utf-8")
    generator = torch.Generator().manual_seed(0)
    low, high = torch.randn(2, inputs, generator=generator), 0.01 * torch.randn(160, 2, generator=generator)
    start = f"base_model.model.{module}.lora_"
    save_file({f"{start}A.weight": low, f"{start}B.weight": high}, folder / "adapter_model.safetensors")
    return folder


def _pickle(folder: Path) -> Path:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    return folder


def test_an_adapter_of_another_base_is_named(tmp_path: Path) -> None:
    """A module that the base does not have, or that is of another width there, is said with what it was made for."""
    base = models.find("llama-mini")
    made = "it was made for org/elsewhere, not for llama-mini"
    with pytest.raises(
        ConfigError, match=f"changes model.layers.9.mlp.down_proj, which llama-mini does not have; {made}"
    ):
        external_checkpoint.find(_adapter(tmp_path / "a", module="model.layers.9.mlp.down_proj"), base, [], tmp_path)
    with pytest.raises(ConfigError, match=f"{MODULE} is 160 by 432 in llama-mini, and 77 wide in the adapter; {made}"):
        external_checkpoint.find(_adapter(tmp_path / "b", inputs=77), base, [], tmp_path)


def test_an_adapter_that_cannot_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle, classes of its own, a base on the hub, a torn file and a missing peft each have their way out."""
    base = models.find("llama-mini")
    with pytest.raises(ConfigError, match=r"its weights are a pickle \(adapter_model.bin\), which is never read"):
        external_checkpoint.find(_pickle(_adapter(tmp_path / "pickle")), base, [], tmp_path)
    with pytest.raises(ConfigError, match=r"names Python classes of its own \(auto_mapping\)"):
        external_checkpoint.find(_adapter(tmp_path / "own", auto_mapping={"x": "y"}), base, [], tmp_path)
    with pytest.raises(ConfigError, match="merging it needs its base as a directory, not org--m from the hub"):
        adapter.folder_of("--edited", _adapter(tmp_path / "hub"), "org/m", "org--m", tmp_path)
    torn = _adapter(tmp_path / "torn")
    (torn / "adapter_model.safetensors").write_bytes(b"\x08")
    with pytest.raises(ConfigError, match=r"adapter_model.safetensors cannot be read .* cut off"):
        external_checkpoint.find(torn, base, [], tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"needs the package peft. Install it: pip install 'editgate\[peft\]'"):
        external_checkpoint.find(_adapter(tmp_path / "whole"), base, [], tmp_path)


def test_an_adapter_is_merged_into_its_base(tmp_path: Path) -> None:
    """The merged directory is the base with W + alpha / r · B A in the one matrix, and is made once."""
    pytest.importorskip("peft", reason="peft is optional: pip install 'editgate[peft]'")
    folder, base = _adapter(tmp_path / "mine"), models.find("llama-mini")
    spec = external_checkpoint.find(folder, base, [], tmp_path / "store")
    assert (spec.name, spec.given) == ("mine", folder)
    assert external_checkpoint.find(folder, base, [], tmp_path / "store").folder == spec.folder
    before, after = load_file(BASE / "model.safetensors"), load_file(spec.folder / "model.safetensors")
    low, high = (
        load_file(folder / "adapter_model.safetensors")[f"base_model.model.{MODULE}.lora_{side}.weight"]
        for side in "AB"
    )
    for name, value in before.items():
        wanted = value.float() + (3 * high @ low if name == f"{MODULE}.weight" else 0)
        assert torch.allclose(after[name], wanted, atol=1e-6)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    """A real model's GGUF file, unpacked."""
    pytest.importorskip("gguf", reason="gguf is optional: pip install 'editgate[gguf]'")
    if not REAL:
        pytest.skip("EDITGATE_GGUF names no GGUF file of a small model")
    source = models.find(REAL, store=tmp_path_factory.mktemp("store"))
    models.check(source)
    return source


def test_a_real_gguf_file_is_a_model_like_any_other(real: ModelSource, tmp_path: Path) -> None:
    """It answers, is saved without the mark of its quantization, and loads again bit by bit."""
    loaded = models.load(real, device="cpu", dtype="float32")
    ids = loaded.tokenizer("The capital of France is", return_tensors="pt").input_ids
    assert bool(loaded.model(ids).logits.isfinite().all())
    loaded.model.save_pretrained(tmp_path)
    again = model_loading.load_weights("--model", str(tmp_path), device="cpu", dtype="float32")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in loaded.model.state_dict().items())
    assert models.notes(real)[0].startswith(f"model: {Path(REAL).name}, dequantized to float32")
