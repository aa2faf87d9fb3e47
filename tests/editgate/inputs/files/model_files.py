"""What can be told of a model's directory by its files, before a library that loads models is asked.

Each finding is one sentence with the option that named the directory and the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from editgate.cache.digest import digest_files, digest_text
from editgate.errors import ConfigError
from editgate.inputs.files import model_kinds
from editgate.inputs.files.user_files import is_dir, is_file, read_object

WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in the order in which transformers looks for them
LFS_POINTER = b"version https://git-lfs"
MERGE = "merge the adapter into its base first (PEFT: merge_and_unload, then save_pretrained)"
UNMERGED = re.compile(r"\.(base_layer|lora_[AB]|lora_embedding_[AB]|modules_to_save)\.")  # PEFT's, in names of tensors
OTHER_SETS = ("consolidated*", "original", "*.gguf", "onnx", "*.onnx", "*.pth", "tf_model.h5", "flax_model.msgpack")
BLOCK = re.compile(r"\.(\d+)\.")  # the first number in a tensor's name is that of its block
ABSURD = 10  # times as many blocks as there are
DEPTHS = ("num_hidden_layers", "n_layer", "num_layers")


def check(option: str, folder: Path) -> dict[str, Any]:
    """Return the config of a model's directory whose files are whole.

    Args:
        option: what named the directory, for messages.
        folder: the directory.

    Raises:
        ConfigError: it is no directory, or holds an adapter; `config.json` is missing or broken; weights are missing,
            torn or a pointer of Git LFS; or `config.json` describes many times the blocks that the weights hold.
    """
    shown = f"{option} {str(folder)!r}"
    config = read_config(option, folder)
    model_kinds.refuse(shown, config)
    files = weights_of(shown, folder)
    if is_file(folder / "adapter_config.json"):
        raise ConfigError(
            f"{shown} holds an adapter beside weights, which transformers adds to them where peft is installed. Remove "
            "adapter_config.json if the weights are merged; else give the adapter alone: --edited=ADAPTER."
        )
    for file in (*files, *filter(is_file, (folder / "tokenizer.json", folder / "tokenizer.model"))):
        refuse_pointer(shown, file)
    names = [name for file in files if file.suffix == ".safetensors" for name in _tensors_of(shown, file)]
    if unmerged := next((name for name in names if UNMERGED.search(name)), None):
        raise ConfigError(
            f"{shown} holds the state of a model with an adapter that was not merged ({unmerged}). Merge it where it "
            "was made (PEFT: merge_and_unload, then save_pretrained), or save the adapter alone: --edited=ADAPTER."
        )
    _refuse_absurd_depth(shown, config, names)
    return config


def left_over(folder: Path) -> tuple[str, list[str]]:
    """Return what is loaded of a directory's sets of weights, and the other sets, by the name that stands for each."""
    sets = [name for name in WEIGHTS if (folder / name).exists() or is_file(folder / f"{name}.index.json")]
    others = [*sets[1:], *(path.name for pattern in OTHER_SETS for path in sorted(folder.glob(pattern)))]
    return (sets[0] if sets else ""), list(dict.fromkeys(others))


def digest(folder: Path, *, weights: bool = True) -> str:
    """Return a sha256 of what a model may be loaded from: all files of its folder, without the sets that are left over.

    Below the folder lie chat templates, and what belongs to no model; of these files the small ones count.

    Args:
        folder: a model's directory.
        weights: without them it is a digest of config and tokenizer.
    """
    _, others = left_over(folder)
    small = {".jinja", ".json", ".py", ".txt"}
    found = [path for path in folder.glob("*") if path.is_file() and path.name not in others]
    found += [path for path in folder.glob("*/*") if path.suffix in small and path.is_file()]
    kept = [path for path in sorted(found) if weights or path.suffix not in {".safetensors", ".bin"}]
    return digest_text("".join(f"{path.relative_to(folder)}:{digest_files(path)}" for path in kept))


def read_config(option: str, folder: Path) -> dict[str, Any]:
    """Return what a model's `config.json` says.

    Raises:
        ConfigError: there is none, for a reason that is named where it is known, or it is no JSON object.
    """
    shown = f"{option} {str(folder)!r}"
    if is_file(folder):
        raise ConfigError(f"{shown} is a file. Allowed: a model's directory, which holds config.json and the weights.")
    if not is_dir(folder):
        raise ConfigError(f"{shown} does not exist. Allowed: a model's directory.")
    if not is_file(folder / "config.json"):
        if is_file(folder / "adapter_config.json"):
            raise ConfigError(
                f"{shown} holds an adapter, not a model; give it as --edited with its base as --model, or {MERGE}."
            )
        if files := sorted(folder.glob("*.gguf")):
            named = "a GGUF file" if len(files) == 1 else f"{len(files)} GGUF files"
            raise ConfigError(f"{shown} holds {named} and no config.json. Give the file: {files[0]}.")
        raise ConfigError(f"{shown} has no config.json. Allowed: a model's directory, as save_pretrained writes it.")
    return read_object(folder / "config.json", f"{shown}: config.json")


def weights_of(shown: str, folder: Path) -> list[Path]:
    """Return the files that transformers would load: the first of `WEIGHTS` that is there; others may be left over.

    Args:
        shown: what messages call the folder.
        folder: a model's directory.

    Raises:
        ConfigError: there are none, or one of several is missing.
    """
    for name in WEIGHTS:
        if (folder / name).exists():
            return [folder / name]
        if is_file(folder / f"{name}.index.json"):
            return _shards_of(shown, folder, f"{name}.index.json")
    way = MERGE if is_file(folder / "adapter_config.json") else "save them there"
    _, others = left_over(folder)
    here = f" Here {'is' if len(others) == 1 else 'are'} {', '.join(others[:3])}, in another form." if others else ""
    raise ConfigError(f"{shown} has no weights ({' or '.join(WEIGHTS)}, or either in shards); {way}.{here}")


def _shards_of(shown: str, folder: Path, index: str) -> list[Path]:
    weight_map = read_object(folder / index, f"{shown}: {index}").get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise ConfigError(f"{shown}: {index} has no weight_map that names the file of each tensor.")
    names = sorted(set(weight_map.values()))
    for name in names:
        if not is_file(folder / name):
            raise ConfigError(f"{shown}: {name} is missing, which {index} names. Copy all files of the model.")
    return [folder / name for name in names]


def has_weights(folder: Path) -> bool:
    """Return whether a directory holds weights of a whole model, by the names of its files."""
    return any(is_file(folder / name) or is_file(folder / f"{name}.index.json") for name in WEIGHTS)


def refuse_pointer(shown: str, file: Path) -> None:
    """Refuse what Git LFS leaves in a file's place.

    Raises:
        ConfigError: it is such a pointer, or cannot be read.
    """
    try:
        with file.open("rb") as opened:
            begins = opened.read(len(LFS_POINTER))
    except OSError as error:
        raise ConfigError(f"{shown}: {file.name} cannot be read ({error.strerror}).") from error
    if begins == LFS_POINTER:
        raise ConfigError(f"{shown}: {file.name} is a pointer of Git LFS, not the file itself. Fetch it: git lfs pull.")


def _tensors_of(shown: str, file: Path) -> Iterator[str]:
    try:
        with safe_open(file, framework="np") as opened:
            yield from opened.keys()
    except (SafetensorError, OSError) as error:
        raise ConfigError(
            f"{shown}: {file.name} cannot be read ({error}); it may be cut off. Copy or save it again."
        ) from error


def _refuse_absurd_depth(shown: str, config: Mapping[str, Any], names: list[str]) -> None:
    """A config that asks for a million blocks takes minutes to build; what is less absurd, loading finds exactly."""
    blocks = {int(found[1]) for name in names if (found := BLOCK.search(name))}
    for key in DEPTHS:
        depth = config.get(key)
        if blocks and isinstance(depth, int) and depth > ABSURD * (max(blocks) + 1):
            raise ConfigError(
                f"{shown}: {key} in config.json is {depth}, but the weights hold {max(blocks) + 1} blocks; the others "
                "would be drawn at random. Save the whole model with its own config.json."
            )
