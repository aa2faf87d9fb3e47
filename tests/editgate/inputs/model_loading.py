"""Loads weights and tokenizers through transformers, and refuses what would not be the model that the files hold.

No code of a model's own is ever run. Whatever the libraries raise about broken files is one sentence of `ConfigError`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

from editgate.errors import ConfigError
from editgate.inputs import hub_errors
from editgate.inputs.files import model_files
from editgate.inputs.files.user_files import is_dir
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase

# Causal masks and rotary frequencies, which older releases saved. transformers 5.23 calls some of them unexpected.
COMPUTED = re.compile(r"\.(attn|attention)\.(masked_)?bias$|\.rotary_emb\.inv_freq$")
AUTO = "auto"  # the device that means: wherever accelerate finds room
TEMPLATE_SECONDS = 20  # of the processor, for a turn of a chat template: a good one takes 1, nearly all to start Python
BUSY = 15  # times as long a busy machine, or one that cannot limit the processor's time, may take by the clock
RENDER = """
import json, sys
try:
    import resource
except ImportError:  # Windows
    pass
else:
    resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[1]), int(sys.argv[1])))
from transformers.utils.chat_template_utils import render_jinja_template
given = json.load(sys.stdin)
turns = [[{"role": "user", "content": "Hello"}]]
render_jinja_template(turns, chat_template=given["template"], add_generation_prompt=True, **given["tokens"])
"""

TOKENIZERS = ("tokenizer.json", "*.model", "vocab.*")  # one of them must be there; the others become fast ones
LONGEST = 200  # characters of another library's message

T = TypeVar("T")


def check(option: str, folder: Path, *, tokenizer: bool) -> dict[str, Any]:
    """Return the config of a directory that holds a whole model, without reading its weights.

    Args:
        option: what named the directory, for messages.
        folder: the directory.
        tokenizer: whether it must have a tokenizer and, if that has one, a chat template that can be used.

    Raises:
        ConfigError: as `model_files.check`; the model cannot be built; tensors are missing, of another shape, or belong
            to nothing; or the tokenizer or its chat template cannot be used.
    """
    config = model_files.check(option, folder)
    model = modules(option, str(folder))
    if tokenizer:
        found = load_tokenizer(option, str(folder))
        _check_vocabulary(f"{option} {str(folder)!r}", found, model)
        if found.chat_template:
            _check_template(f"{option} {str(folder)!r}", found)
    return config


def load_weights(
    option: str, location: str, *, device: str, dtype: str, max_memory: Mapping[int | str, int] | None = None
) -> PreTrainedModel:
    """Load a model without its tokenizer, for reading; `option` is what named it.

    With the device `auto` accelerate places each part: on a device, in main memory, or on disk, where it stays in the
    model's own files. `max_memory` has the bytes that it may use of each; None: all that is free.

    Raises:
        ConfigError: the files are missing or cannot be read, the model is gated, needs code of its own, or is not
            what its config describes; or `auto` finds no room for the embedding.
    """
    import torch  # noqa: PLC0415 - options are read and tests collected without it

    placed = {"device_map": AUTO, "max_memory": max_memory and dict(max_memory)} if device == AUTO else {}
    model = _from_pretrained(option, location, dtype=getattr(torch, dtype), **placed)
    if device == AUTO:
        _check_placement(model)
    else:
        torch.nn.Module.to(model, device)
    model.eval().requires_grad_(requires_grad=False)
    return model


def load_gguf(option: str, file: Path) -> PreTrainedModel:
    """Load the model of a GGUF file on the CPU, dequantized to float32.

    Raises:
        ConfigError: it cannot be read, or transformers knows no such architecture.
    """
    import torch  # noqa: PLC0415 - as in `load_weights`

    return _from_pretrained(option, str(file.parent), gguf_file=file.name, dtype=torch.float32)


def modules(option: str, location: str) -> PreTrainedModel:
    """Return a model whose tensors have shapes and no values, without reading weights.

    Raises:
        ConfigError: the model cannot be built.
    """
    return _from_pretrained(option, location, device_map="meta")


def shapes(option: str, location: str) -> dict[str, tuple[int, ...]]:
    """Return the shape of each module's weight, by the module's path, without reading weights.

    Raises:
        ConfigError: the model cannot be built.
    """
    model = modules(option, location)
    named = model.named_parameters(remove_duplicate=False)
    return {name.removesuffix(".weight"): tuple(value.shape) for name, value in named if name.endswith(".weight")}


def load_tokenizer(option: str, location: str, *, gguf_file: str | None = None) -> PreTrainedTokenizerBase:
    """Load a tokenizer; of a GGUF file, that is in the directory `location`, the one that it holds.

    Raises:
        ConfigError: its files are missing or broken, or it is a slow one.
    """
    from transformers import AutoTokenizer  # noqa: PLC0415 - seconds to import; a shipped model is found without it

    folder = Path(location)
    if (
        gguf_file is None
        and is_dir(folder)
        and not any(file for pattern in TOKENIZERS for file in folder.glob(pattern))
    ):
        raise ConfigError(
            f"{option} {location!r} has no tokenizer.json. Save it there: tokenizer.save_pretrained(DIR)."
        )
    shown = f"{option} {location!r}: the tokenizer"
    inside = {"gguf_file": gguf_file} if gguf_file else {}
    found: PreTrainedTokenizerBase = _asked(
        shown, location, lambda: AutoTokenizer.from_pretrained(location, trust_remote_code=False, **inside)
    )
    if not getattr(found, "is_fast", False):
        raise ConfigError(f"{option} {location!r}: no fast tokenizer (tokenizer.json), which editors need.")
    return found


def _from_pretrained(option: str, location: str, **how: Any) -> PreTrainedModel:  # noqa: ANN401 - transformers' own
    """Return the model that the files hold, all of it and nothing else; tied tensors need no copy of their own."""
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - as in `load_tokenizer`

    def load() -> tuple[PreTrainedModel, Mapping[str, Any]]:
        found: Any = AutoModelForCausalLM.from_pretrained(
            location, trust_remote_code=False, output_loading_info=True, ignore_mismatched_sizes=True, **how
        )
        model, info = found
        return model, info

    shown = f"{option} {str(Path(location) / how.get('gguf_file', '')) if 'gguf_file' in how else location!r}"
    model, info = _asked(shown, location, load)
    if wrong := sorted(info["mismatched_keys"], key=str):
        name, saved, built = wrong[0]
        raise ConfigError(
            f"{shown}: {name} (and {len(wrong) - 1} more) has the shape {tuple(saved)} in the files and {tuple(built)} "
            "by config.json. Save the whole model with its own config.json."
        )
    if missing := sorted(info["missing_keys"]):
        raise ConfigError(
            f"{shown}: {missing[0]} (and {len(missing) - 1} more) is not in the files of the model, and would be drawn "
            "at random. Save the whole model with its own config.json."
        )
    if strange := sorted(name for name in info["unexpected_keys"] if not COMPUTED.search(name)):
        raise ConfigError(
            f"{shown}: {strange[0]} (and {len(strange) - 1} more) in the files belongs to nothing that config.json "
            "describes, and would be left out. Save the whole model with its own config.json."
        )
    if info.get("error_msgs"):
        raise ConfigError(f"{shown} cannot be loaded: {line(info['error_msgs'][0])}.")
    return model


def _asked(shown: str, location: str, load: Callable[[], T]) -> T:
    """Return what transformers loads, with its log silent; broken files make it raise nearly anything."""
    try:
        with _silent():
            return load()
    except (OSError, ImportError) as error:
        raise ConfigError(f"{shown} cannot be loaded: {hub_errors.advice(error, location)}") from error
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # that is tokenizers' own
            raise
        raise ConfigError(f"{shown} cannot be loaded: {_reason(error)}.") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, UnpicklingError):
        return "its pickle would run code, which is never done here; save the model with save_pretrained (safetensors)"
    if "custom code" in str(error):
        return "it needs Python code of its own, which is never run here; allowed are architectures of transformers"
    return f"its files are not what transformers expects ({type(error).__name__}: {line(str(error))})"


def line(text: str) -> str:
    """Return another library's message in one short line."""
    return textwrap.shorten(text, LONGEST, placeholder=" …").rstrip(".")


@contextmanager
def _silent() -> Iterator[None]:
    """Inside, transformers reports nothing but errors: what is wrong with a model is said by an exception of ours."""
    from transformers.utils import logging  # noqa: PLC0415 - as in `load_tokenizer`

    from editgate.compat.transformers import hide_progress_bars  # noqa: PLC0415 - as in `load_tokenizer`

    hide_progress_bars()
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _check_vocabulary(shown: str, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """A word without a row in the embedding is another model's; added tokens without one do occur, and are no words."""
    embedding: Any = model.get_input_embeddings()
    rows = int(embedding.weight.shape[0])
    words = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    if words and max(words.values()) >= rows:
        raise ConfigError(
            f"{shown}: the tokenizer has tokens up to {max(words.values())}, but the model has {rows} rows for them; "
            "it is another model's. Copy the model's own tokenizer."
        )


def _check_template(shown: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Render one turn in a process of its own: a template is a program, and may never end."""
    try:
        template = tokenizer.get_chat_template()
    except ValueError as error:  # several by name, and none of them the default
        raise ConfigError(f"{shown}: its chat template cannot be used ({line(str(error))}).") from error
    given = json.dumps({"template": template, "tokens": {k: str(v) for k, v in tokenizer.special_tokens_map.items()}})
    endless = ConfigError(f"{shown}: its chat template does not end within {TEMPLATE_SECONDS} seconds.")
    try:
        done = subprocess.run(  # noqa: S603 - our own program; the template is data on its standard input
            [sys.executable, "-c", RENDER, str(TEMPLATE_SECONDS)], input=given, capture_output=True, text=True,
            timeout=TEMPLATE_SECONDS * BUSY, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise endless from None
    if done.returncode < 0:  # killed at its limit
        raise endless
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ConfigError(f"{shown}: its chat template cannot be used ({said}).")


def _check_placement(model: PreTrainedModel) -> None:
    """What asks a model sends it token ids, and takes the place of its first weights for that of the whole model."""
    if next(model.parameters()).is_meta:
        raise ConfigError(
            "--device auto finds no room for the model's embedding, which must be on a device or in main memory. Raise "
            "--max-memory, or take a smaller type (--dtype bfloat16)."
        )
