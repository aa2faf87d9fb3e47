"""GGUF files, of which each holds a whole model: `--model=FILE.gguf`, `--edited=FILE.gguf`.

transformers dequantizes them with the package gguf. Results go by the dequantized weights, as those of any model do.
The converted directory goes by the file's bytes.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from editgate.errors import ConfigError
from editgate.inputs.files.model_files import LFS_POINTER
from editgate.inputs.files.user_files import is_file
from editgate.inputs.other_forms import conversion

MAGIC = b"GGUF"
PART = re.compile(r"-\d{5}-of-\d{5}$")  # of the name of a file that was split
QUANTIZATION = re.compile(r"[-._](UD[-_])?(i?q\d\w*|f16|bf16|f32|fp16|mxfp4)$", re.IGNORECASE)


def is_gguf(path: Path) -> bool:
    """Return whether a path is meant as a GGUF file: by its ending, or by what the file begins with."""
    return is_file(path) and (path.suffix.lower() == ".gguf" or _begins(path) == MAGIC)


def base_name(file: Path) -> str:
    """Return the model's name without the quantization: `SmolLM2-135M-Instruct` of `….Q4_1.gguf`."""
    return QUANTIZATION.sub("", file.stem)


def folder_of(option: str, file: Path, store: Path) -> Path:
    """Return where the file's model lies, or will lie once it is converted.

    Raises:
        ConfigError: it is no GGUF file, or one of several, or the package gguf is missing.
    """
    shown = f"{option} {str(file)!r}"
    begins = _begins(file)
    if LFS_POINTER.startswith(begins) and begins:
        raise ConfigError(f"{shown} is a pointer of Git LFS, not the file itself. Fetch it: git lfs pull.")
    if begins != MAGIC:
        raise ConfigError(f"{shown} is no GGUF file: it begins with {begins!r} instead of {MAGIC!r}. Copy it again.")
    if PART.search(file.stem):
        raise ConfigError(f"{shown} is one of several parts. Join them: llama-gguf-split --merge {file.name} OUT.gguf.")
    if importlib.util.find_spec("gguf") is None:
        raise ConfigError(f"{shown} needs the package gguf. Install it: pip install 'editgate[gguf]'.")
    return conversion.place(store, base_name(file), [file], "gguf")


def convert(option: str, file: Path, folder: Path) -> None:
    """Dequantize the file into the folder, in float32, unless that was done before.

    Raises:
        ConfigError: transformers cannot read it; says why.
    """
    from editgate.compat.transformers import forget_quantization  # noqa: PLC0415 - seconds to import
    from editgate.inputs import model_loading  # noqa: PLC0415 - as above

    def write(trial: Path) -> None:
        conversion.say(
            f"editgate: dequantizing {file.name} ({file.stat().st_size / 1e6:.0f} MB) into the store, once; "
            "10 s to a few minutes"
        )
        shown = str(file.parent)
        model = model_loading.load_gguf(option, file)
        forget_quantization(model)
        model.save_pretrained(trial)
        model_loading.load_tokenizer(option, shown, gguf_file=file.name).save_pretrained(trial)

    conversion.make(folder, f"{option} {str(file)!r}", write)


def _begins(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(len(MAGIC))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror}).") from error
