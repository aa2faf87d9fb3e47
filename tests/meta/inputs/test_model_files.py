"""A directory that does not hold one whole model is a usage error of one sentence, before anything is asked of it."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from editgate.errors import ConfigError
from editgate.inputs import model_loading, models
from editgate.miniature.recipes import WEIGHTS
from meta.support import tiny_models as tiny

ROOT = Path(__file__).parents[3]
MATRIX = "model.layers.1.mlp.down_proj.weight"
SHARD = "model-00001-of-00002.safetensors"
Spoil = Callable[[Path], object]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model with its tokenizer, as a directory."""
    folder = tmp_path_factory.mktemp("models") / "tiny-random"
    tiny.model("llama").save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def _config(**changes: object) -> Spoil:
    return lambda folder: _rewrite(folder / "config.json", changes)


def _tokens(**changes: object) -> Spoil:
    return lambda folder: _rewrite(folder / "tokenizer_config.json", changes)


def _rewrite(file: Path, changes: dict[str, Any]) -> None:
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def _write(name: str, text: str | bytes) -> Spoil:
    data = text if isinstance(text, bytes) else text.encode()
    return lambda folder: (folder / name).write_bytes(data)


def _cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def _only(name: str, data: bytes) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(data)

    return spoil


def _only_a_folder(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()


def _shards(folder: Path) -> None:
    weight_map = dict.fromkeys(load_file(folder / "model.safetensors"), SHARD)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    save_file({"other": torch.ones(1)}, folder / "model-00002-of-00002.safetensors", metadata={"format": "pt"})


def _adapter(folder: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (folder / name).unlink()
    _write("adapter_config.json", "{}")(folder)
    save_file({"base_model.lora_A.weight": torch.ones(1)}, folder / "adapter_model.safetensors")


def _adapter_with_config(folder: Path) -> None:
    config = (folder / "config.json").read_bytes()
    _adapter(folder)
    _write("config.json", config)(folder)


def _custom(model_type: str) -> Spoil:
    def spoil(folder: Path) -> None:
        _write("evil.py", "raise SystemExit('was run')")(folder)
        own = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
        _config(model_type=model_type, auto_map=own)(folder)

    return spoil


class _Evil:
    """Writes to standard error when it is unpickled by somebody who does not look."""

    def __reduce__(self) -> tuple[object, ...]:
        return (sys.exit, ("was run",))


def _also(**tensors: torch.Tensor) -> Spoil:
    return _tensors(lambda found: found.update(tensors))


def _gguf_only(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    (folder / "tiny.Q4_1.gguf").write_bytes(b"GGUF")


def _original_only(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "consolidated.00.pth").write_bytes(b"")


QUANTIZED = {
    "gptq": "GPTQ",
    "awq": "AWQ",
    "bitsandbytes": "bitsandbytes",
    "fp8": "FP8",
    "compressed-tensors": "compressed",
}
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
ENDLESS = "a chat template without end"
BROKEN: dict[str, tuple[Spoil, str]] = {
    "a missing tensor": (_tensors(lambda t: t.pop(MATRIX)), f"{MATRIX} .and 0 more. is not in the files"),
    "a tensor that nothing takes": (_tensors(lambda t: t.update({"a.b": torch.ones(1)})), "a.b .and 0.* nothing"),
    "a tensor of another shape": (
        _tensors(lambda t: t.update({MATRIX: torch.ones(3, 4)})),
        rf"{MATRIX} .* has the shape \(3, 4\) in the files and \(16, 24\) by config.json",
    ),
    "fewer layers": (_config(num_hidden_layers=2), r"layers\.2\.\S+ .* belongs to nothing"),
    "no layer": (_config(num_hidden_layers=0), r"layers\.0\.\S+ .* belongs to nothing"),
    "a negative number of layers": (_config(num_hidden_layers=-1), r"layers\.0\.\S+ .* belongs to nothing"),
    "more layers": (_config(num_hidden_layers=4), r"layers\.3\.\S+ .and 8 more. is not in the files"),
    "a million layers": (_config(num_hidden_layers=10**6), "is 1000000, but the weights hold 3 blocks"),
    "an absurd vocabulary": (_config(vocab_size=10**11), r"has the shape .* in the files and \(100000000000, 16\)"),
    "no head": (_config(num_attention_heads=0), "cannot be loaded"),
    "a width as text": (_config(hidden_size="16"), "cannot be loaded"),
    "an unknown activation": (_config(hidden_act="gulu"), "cannot be loaded: .*gulu"),
    "an unknown rope": (
        _config(rope_parameters={"rope_type": "spiral", "rope_theta": 1.0}, rope_scaling=None),
        "cannot be loaded: .*spiral",
    ),
    "an unknown architecture": (_config(model_type="martian"), "cannot be loaded: .*martian"),
    "an architecture of its own": (_custom("martian"), "Python code of its own, which is never run"),
    "a config that is a list": (_write("config.json", "[]"), "config.json: must hold a JSON object, not a list"),
    "a config that is no JSON": (_write("config.json", "{"), "config.json.*not JSON"),
    "a config that is no text": (_write("config.json", b"\xff\x00{"), "config.json, line 1: not UTF-8"),
    "a config nested for ever": (_write("config.json", "[" * 9999), "config.json: is nested too deeply"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), r"has no weights \(model\.safetensors or"),
    "weights that are cut": (_cut, r"model\.safetensors cannot be read .*cut off"),
    "weights that are empty": (_write("model.safetensors", ""), r"model\.safetensors cannot be read"),
    "weights with a bad header": (_write("model.safetensors", b"\x08" + b"\0" * 7 + b"not json"), "cannot be read"),
    "a pointer of Git LFS": (
        _write("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"),
        r"model\.safetensors is a pointer of Git LFS, not the file itself. Fetch it: git lfs pull",
    ),
    "a tokenizer that is a pointer": (
        _write("tokenizer.json", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"),
        r"tokenizer\.json is a pointer of Git LFS",
    ),
    "weights that are a folder": (_only_a_folder, r"model\.safetensors cannot be read \(Is a directory\)"),
    "an adapter beside weights": (_write("adapter_config.json", "{}"), "an adapter beside weights"),
    "a missing shard": (_shards, rf"{SHARD} is missing, which model\.safetensors\.index\.json names"),
    "an index that is none": (_only("model.safetensors.index.json", b"[]"), "index.json: must hold a JSON object"),
    "an index of nothing": (_only("model.safetensors.index.json", b"{}"), "index.json has no weight_map"),
    "a pickle": (_only("pytorch_model.bin", pickle.dumps(_Evil(), 2)), "its pickle would run code"),
    "an adapter": (_adapter, "holds an adapter, not a model; give it as --edited .* or merge"),
    "an adapter with a config": (_adapter_with_config, "has no weights .*merge the adapter .*merge_and_unload"),
    "an unmerged adapter": (
        _also(**{"model.layers.0.mlp.down_proj.base_layer.weight": torch.ones(1)}),
        r"adapter that was not merged \(model\.layers\.0\.mlp\.down_proj\.base_layer\.weight\).*merge_and_unload",
    ),
    **{
        f"weights quantized by {method}": (
            _config(quantization_config={"quant_method": method, "bits": 4}),
            rf"has quantized weights \({name}.*, 4 bits\).*Give the model that it was quantized from",
        )
        for method, name in QUANTIZED.items()
    },
    "an encoder-decoder": (_config(is_encoder_decoder=True), "is an encoder-decoder .llama."),
    "a model that also sees": (_config(vision_config={}), "takes images or sound .vision_config in config.json"),
    "a model that writes no text": (_config(architectures=["LlamaForSequenceClassification"]), "and writes no text"),
    "a GGUF file in a folder": (_gguf_only, r"holds a GGUF file and no config.json. Give the file: \S+tiny.Q4_1.gguf"),
    "weights in another form": (_original_only, r"has no weights .* Here is consolidated.00.pth, in another form"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json"),
    "an empty tokenizer": (_write("tokenizer.json", "{}"), "cannot be loaded"),
    "a tokenizer that is a list": (_write("tokenizer.json", "[]"), "cannot be loaded"),
    "a tokenizer's config that is no JSON": (_write("tokenizer_config.json", "{"), "cannot be loaded"),
    "a tokenizer's config that is a list": (_write("tokenizer_config.json", "[]"), "cannot be loaded"),
    "a tokenizer's config in another encoding": (_write("tokenizer_config.json", b"\xff\xfe\xff"), "cannot be loaded"),
    "another model's tokenizer": (
        lambda folder: shutil.copy(WEIGHTS / "llama-mini" / "tokenizer.json", folder),
        "tokens up to 4095, but the model has 300 rows",
    ),
    "an unsafe chat template": (_tokens(chat_template="{{ ''.__class__.__mro__ }}"), "chat template .*SecurityError"),
    "a chat template that is none": (_tokens(chat_template="{% for"), "chat template .*TemplateSyntaxError"),
    ENDLESS: (_tokens(chat_template=LOOP), "chat template does not end within"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_model_is_one_sentence(
    case: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong in a model's directory is said by name in a usage error, and none of its code is run."""
    spoil, message = BROKEN[case]
    folder = shutil.copytree(whole, tmp_path / "given")
    spoil(folder)
    if case == ENDLESS:  # the others' time is Python's start, which a busy machine draws out
        monkeypatch.setattr(model_loading, "TEMPLATE_SECONDS", 2)
    with pytest.raises(ConfigError, match=message) as raised:
        models.check(models.find(str(folder)))
    assert str(raised.value).startswith(f"--model {str(folder)!r}")
    assert "\n" not in str(raised.value)


def test_of_several_sets_of_weights_the_one_loaded_is_named(whole: Path, tmp_path: Path) -> None:
    """Weights in other forms beside those that are loaded are noted, and not read."""
    folder = shutil.copytree(whole, tmp_path / "given")
    assert models.notes(models.find(str(folder))) == []
    for name in ("pytorch_model.bin", "consolidated.safetensors", "tiny.Q4_1.gguf"):
        (folder / name).write_bytes(b"torn")
    (folder / "onnx").mkdir()
    source = models.find(str(folder))
    models.check(source)
    others = "pytorch_model.bin, consolidated.safetensors, tiny.Q4_1.gguf, onnx"
    assert models.notes(source) == [f"model: model.safetensors is loaded; not read: {others}"]


def test_a_whole_model_is_taken(whole: Path, tmp_path: Path) -> None:
    """A model that save_pretrained wrote passes, also with a chat template, and with code that is not needed."""
    models.check(models.find(str(whole)))
    folder = shutil.copytree(whole, tmp_path / "given")
    _tokens(chat_template="{% for turn in messages %}{{ turn.content }}{% endfor %}")(folder)
    _custom("llama")(folder)
    models.check(models.find(str(folder)))


@pytest.mark.parametrize("name", models.miniatures())
def test_every_shipped_model_is_whole(name: str) -> None:
    """What every run takes for granted of the shipped models is checked here."""
    model_loading.check("--model", WEIGHTS / name, tokenizer=True)


def test_what_is_left_over_is_not_loaded(whole: Path, tmp_path: Path) -> None:
    """Beside the weights that transformers loads, an old index or a torn file of another kind matters to nobody."""
    folder = shutil.copytree(whole, tmp_path / "given")
    _write("model.safetensors.index.json", "[]")(folder)
    _write("consolidated.safetensors", "")(folder)
    _write("pytorch_model.bin", "")(folder)
    models.check(models.find(str(folder)))


@pytest.mark.parametrize("family", ["gpt2", "gptj", "gpt_neox", "llama"])
def test_masks_of_older_files_are_no_strangers(family: str, tmp_path: Path) -> None:
    """Published files hold causal masks and rotary frequencies, which today's classes compute: they are left out."""
    tiny.model(family).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    mask = torch.ones(1, 1, 4, 4)
    old = {
        "gpt2": {"transformer.h.0.attn.bias": mask},
        "gptj": {"transformer.h.0.attn.bias": mask, "transformer.h.0.attn.masked_bias": torch.ones(1)},
        "gpt_neox": {
            "gpt_neox.layers.0.attention.bias": mask,
            "gpt_neox.layers.0.attention.masked_bias": torch.ones(1),
        },
        "llama": {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)},
    }
    save_file(tensors | old[family], tmp_path / "model.safetensors", metadata={"format": "pt"})
    model_loading.check("--model", tmp_path, tokenizer=False)


def test_a_tied_head_may_be_in_the_files_or_not(tmp_path: Path) -> None:
    """Some libraries write the head although it is the embedding: no tensor is missing, and none a stranger."""
    tiny.model("llama", tied=True).save_pretrained(tmp_path)
    model_loading.check("--model", tmp_path, tokenizer=False)
    tensors = load_file(tmp_path / "model.safetensors")
    head = {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}
    save_file(tensors | head, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model_loading.check("--model", tmp_path, tokenizer=False)


def test_a_pickle_of_tensors_is_taken(whole: Path, tmp_path: Path) -> None:
    """pytorch_model.bin as older releases wrote it is read, without running anything."""
    folder = shutil.copytree(whole, tmp_path / "given")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    models.check(models.find(str(folder)))


@pytest.mark.parametrize("case", ["a missing tensor", "fewer layers", "a tensor of another shape"])
def test_nothing_is_loaded_that_is_not_in_the_files(case: str, whole: Path, tmp_path: Path) -> None:
    """Where the directory was not checked before, as for a model of the hub, loading refuses it by the same names."""
    spoil, message = BROKEN[case]
    folder = shutil.copytree(whole, tmp_path / "given")
    spoil(folder)
    with pytest.raises(ConfigError, match=message):
        model_loading.load_weights("--model", str(folder), device="cpu", dtype="float32")


def test_a_file_or_nothing_is_no_directory(whole: Path) -> None:
    """A file of weights in the directory's stead, and a path that leads nowhere, say what is allowed."""
    with pytest.raises(ConfigError, match=r"is a file. Allowed: a model's directory"):
        models.find(str(whole / "model.safetensors"))
    with pytest.raises(ConfigError, match=r"no/such/folder' is not known. Allowed: gpt2-mini"):
        models.find("no/such/folder")


def test_no_code_of_a_model_is_ever_asked_for() -> None:
    """Every call that loads a model, a config or a tokenizer says that its code must not be run.

    Left unsaid, transformers asks on standard input, and takes any "y" there for consent.
    """
    calls = []
    for file in [*ROOT.glob("editors/**/*.py"), *ROOT.glob("tests/editgate/**/*.py")]:
        text = file.read_text(encoding="utf-8")
        calls += [(file.name, found[0]) for found in re.finditer(r"Auto\w+\.from_pretrained\([^()]*\)?", text)]
    assert len(calls) >= 6
    assert [call for call in calls if "trust_remote_code=False" not in call[1]] == []
