"""PEFT adapters, which are a change of a base model and no model: `--edited=DIR`, merged into `--model` by peft.

The merged directory goes by the bytes of the adapter and of the base's weights.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

from safetensors import safe_open

from editgate.errors import ConfigError
from editgate.inputs import model_loading
from editgate.inputs.files import model_files
from editgate.inputs.files.user_files import is_file, read_object
from editgate.inputs.other_forms import conversion

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PICKLE = "adapter_model.bin"
PREFIX = "base_model.model."  # peft's, before the name of a module of the base


def is_adapter(folder: Path) -> bool:
    """Return whether a directory holds an adapter and no model."""
    return is_file(folder / CONFIG) and not model_files.has_weights(folder)


def folder_of(option: str, folder: Path, base: str, base_name: str, store: Path) -> Path:
    """Return where the merged model lies, or will lie; checks first that it can be made.

    Args:
        option: what named the adapter.
        folder: its directory.
        base: the directory of the unedited model.
        base_name: what messages call that.
        store: the root of the store.

    Raises:
        ConfigError: the adapter is not whole or needs code, it is another base's, the base is no directory, or peft is
            missing.
    """
    shown = f"{option} {str(folder)!r}"
    config = read_object(folder / CONFIG, f"{shown}: {CONFIG}")
    if not is_file(folder / WEIGHTS):
        fault = (
            f"its weights are a pickle ({PICKLE}), which is never read" if is_file(folder / PICKLE) else "it has none"
        )
        raise ConfigError(f"{shown} is an adapter without {WEIGHTS}: {fault}. Save it again with save_pretrained.")
    model_files.refuse_pointer(shown, folder / WEIGHTS)
    if config.get("auto_mapping"):
        raise ConfigError(f"{shown} names Python classes of its own (auto_mapping), which are never run here.")
    if not Path(base).is_dir():
        raise ConfigError(
            f"{shown} is an adapter, and merging it needs its base as a directory, not {base_name} from the hub. Give "
            f"that: --model=DIR (hf download {base} --local-dir DIR)."
        )
    _check_base(shown, folder / WEIGHTS, base, base_name, config)
    if importlib.util.find_spec("peft") is None:
        raise ConfigError(
            f"{shown} is an adapter, and needs the package peft. Install it: pip install 'editgate[peft]'."
        )
    files = [
        folder / CONFIG,
        folder / WEIGHTS,
        *model_files.weights_of("--model", Path(base)),
        Path(base) / "config.json",
    ]
    return conversion.place(store, folder.resolve().name, files, "peft")


def merge(option: str, folder: Path, base: str, merged: Path) -> None:
    """Merge the adapter into its base in float32, and save the whole model, unless that was done before.

    Raises:
        ConfigError: peft cannot; says why.
    """

    def write(trial: Path) -> None:
        conversion.say(f"editgate: merging the adapter {folder.name} into its base, once; seconds to minutes")
        from peft import PeftModel  # noqa: PLC0415 - optional, and seconds to import

        model = model_loading.load_weights("--model", base, device="cpu", dtype="float32")
        before = [name for name, _ in model.named_parameters()]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # between peft and transformers, and none of ours
                warnings.filterwarnings("error", "Found missing adapter keys")  # they would be drawn at random
                whole: Any = PeftModel.from_pretrained(model, str(folder)).merge_and_unload(safe_merge=True)
        except Exception as error:
            raise ConfigError(
                f"{option} {str(folder)!r} cannot be merged into --model ({model_loading.line(str(error))}); it may be "
                "another base's. Merge it where it was made (merge_and_unload), and give the whole model."
            ) from error
        if [name for name, _ in whole.named_parameters()] != before:
            raise ConfigError(
                f"{option} {str(folder)!r} leaves parts of its own in the model after merging (a prompt, a prefix or a "
                "head), which are no change of the base's weights. Allowed: adapters that can be merged, such as LoRA."
            )
        whole.save_pretrained(trial)
        if any(is_file(folder / name) for name in ("tokenizer.json", "tokenizer_config.json")):
            model_loading.load_tokenizer(option, str(folder)).save_pretrained(trial)

    conversion.make(merged, f"{option} {str(folder)!r}", write)


def _check_base(shown: str, weights: Path, base: str, base_name: str, config: dict[str, Any]) -> None:
    """Each tensor must belong to a module of the base, and LoRA's must have its shape; peft itself only warns."""
    modules = model_loading.shapes("--model", base)
    made_for = str(config.get("base_model_name_or_path") or "another model")
    other = f"; it was made for {made_for}, not for {base_name}. Give its own base: --model"
    with _opened(shown, weights) as opened:
        for name in opened.keys():  # noqa: SIM118 - no mapping
            path, _, rest = name.removeprefix(PREFIX).partition(".lora_")
            if not rest:
                continue
            if path not in modules:
                raise ConfigError(f"{shown} changes {path}, which {base_name} does not have{other}.")
            side, shape = rest.partition(".")[0], opened.get_slice(name).get_shape()
            given = {"A": shape[-1], "B": shape[0]}.get(side)  # [r, in] and [out, r]
            if given is not None and given not in modules[path]:
                wanted = " by ".join(map(str, modules[path]))
                raise ConfigError(
                    f"{shown}: {path} is {wanted} in {base_name}, and {given} wide in the adapter{other}."
                )


def _opened(shown: str, file: Path) -> Any:  # noqa: ANN401 - safetensors' own
    try:
        return safe_open(file, framework="np")
    except Exception as error:
        raise ConfigError(
            f"{shown}: {file.name} cannot be read ({error}); it may be cut off. Copy it again."
        ) from error
