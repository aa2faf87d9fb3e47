"""A hyperparameter file of EasyEdit: read by EasyEdit's own class, checked without a model and against one."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editors.core.errors import ForeignFailure, HyperparameterError, UnsupportedModel
from editors.core.typing import PreTrainedModel
from editors.external.calls import external_call
from editors.external.easyedit import package
from editors.external.easyedit.printed_reason import printed_reasons

if TYPE_CHECKING:
    from torch import nn

TEMPLATES = ("rewrite_module_tmp", "layer_module_tmp", "mlp_module_tmp", "attn_module_tmp")
HEAD = "lm_head_module"
MODULES = ("ln_f_module", HEAD)
SHOWN = 3


def load(method: str, path: str) -> Any:  # noqa: ANN401 - a record of EasyEdit
    """The file's record.

    Raises:
        HyperparameterError: It is not a file, or EasyEdit refuses it.
    """
    if not Path(path).is_file():
        raise HyperparameterError(f"hparams={path!r} is not a file; give one of EasyEdit's own, hparams/METHOD/*.yaml")
    reader = package.hyperparameter_class(method)
    try:
        with external_call(f"{reader.__name__}.from_hparams"), printed_reasons():
            record = reader.from_hparams(str(Path(path).resolve()))
    except ForeignFailure as failure:
        raise HyperparameterError(f"hparams={path!r} is no file for EasyEdit's {method}: {failure}") from None
    if getattr(record, "lora_type", None) == "adalora" and '"adalora"' in package.source(method):  # DPO ignores it
        _check_adalora(path)
    return record


def files(record: object) -> dict[str, Path]:
    """Files that a record names, such as a trained archive, by field: results depend on what is in them."""
    texts = {name: Path(value) for name, value in vars(record).items() if isinstance(value, str) and value}
    return {name: path.resolve() for name, path in texts.items() if name != "P_loc" and path.is_file()}


def adapt(record: Any, model: PreTrainedModel, folder: Path) -> None:  # noqa: ANN401 - a record of EasyEdit
    """Change what a record says of the place where it runs, and nothing of the method.

    Device and statistics are editgate's, AlphaEdit's projection is computed anew in the folder, and files are named so
    that they are found from there.
    """
    device = model.device
    for name, path in files(record).items():
        setattr(record, name, str(path))
    for each in (record, *filter(None, [getattr(record, "base_hparams", None)])):
        each.device = (device.index or 0) if device.type == "cuda" else str(device)
        # Without it WISE makes a new side memory at each call. EasyEdit's own sequential loop forgets to set it.
        each.sequential_edit = True
        for name, kept in {"stats_dir": "stats", "P_loc": "null_space_project.pt"}.items():
            if hasattr(each, name):
                setattr(each, name, str(folder / kept))
        if tied := _tied_to(each, model):
            setattr(each, HEAD, tied)


def check_model(given: Mapping[str, object], record: object, spec: str, model: PreTrainedModel) -> None:
    """Check that the model has the modules that the file names; its tensors need no values.

    Raises:
        UnsupportedModel: It lacks some; the message names them, with their fields.
    """
    lacking = [f"{field}: {path}" for field, path in _named(record) if not _has(model, path)]
    lacking += _lacking_adapters(record, model)
    if lacking:
        more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
        depth = getattr(model.config, "num_hidden_layers", None)
        blocks = f" It has {depth} blocks, from 0." if isinstance(depth, int) else ""
        raise UnsupportedModel(
            f"{spec} with hparams={given.get('hparams')!r} names what the model lacks: "
            f"{', '.join(lacking[:SHOWN])}{more}.{blocks} Write a copy of the file with this model's layers and modules"
        )


def rewritten(record: Any) -> list[str]:  # noqa: ANN401 - a record of EasyEdit
    """Paths of the matrices that a locate-then-edit method rewrites."""
    templates = getattr(record, "rewrite_module_tmps", None) or [getattr(record, "rewrite_module_tmp", "")]
    paths = [str(template).format(layer) for template in templates for layer in getattr(record, "layers", ())]
    return [path.removesuffix(".weight") for path in paths if path]


def _named(record: object) -> Iterator[tuple[str, str]]:
    """Fields and the paths of modules or parameters that they name."""
    fields = vars(record)
    layers = fields.get("layers") or []
    for field in (name for name in TEMPLATES if isinstance(fields.get(name), str)):
        yield from ((field, fields[field].format(layer)) for layer in layers)
    if isinstance(fields.get("v_loss_layer"), int) and isinstance(fields.get("layer_module_tmp"), str):
        yield "v_loss_layer", fields["layer_module_tmp"].format(fields["v_loss_layer"])
    yield from ((name, fields[name]) for name in MODULES if isinstance(fields.get(name), str))
    yield from (("inner_params", re.sub(r"\[(\d+)\]", r".\1", str(name))) for name in fields.get("inner_params") or ())


def _check_adalora(path: str) -> None:
    """EasyEdit names no number of steps to peft's AdaLoRA, which later releases of peft insist on.

    Raises:
        HyperparameterError: The installed peft does.
    """
    peft = importlib.import_module("peft")
    try:
        with warnings.catch_warnings(action="ignore"):
            peft.AdaLoraConfig()
    except ValueError as error:
        raise HyperparameterError(
            f"hparams={path!r} says lora_type: adalora, which peft {peft.__version__} refuses as EasyEdit calls it "
            f"({str(error).rstrip('.')}). Write lora_type: lora"
        ) from None


def _lacking_adapters(record: object, model: PreTrainedModel) -> list[str]:
    """What peft would look for in vain. It goes by the ends of modules' names, and passes over missing blocks."""
    targets = getattr(record, "target_modules", None)
    if not isinstance(targets, list):
        return []
    names = [f".{name}" for name, _ in model.named_modules()]
    lacking = [f"target_modules: {end}" for end in targets if not any(name.endswith(f".{end}") for name in names)]
    depth = getattr(model.config, "num_hidden_layers", None)
    layers = getattr(record, "layers", None) or []
    return lacking + [f"layers: {layer}" for layer in layers if isinstance(depth, int) and layer >= depth]


def _has(model: nn.Module, path: str) -> bool:
    """Whether a dotted path is a module or a parameter of the model."""
    found: object = model
    for part in path.split("."):
        found = getattr(found, part, None)
    return found is not None


def _tied_to(record: object, model: nn.Module) -> str | None:
    """The module whose weight the head shares, where the record names a head: EasyEdit finds that tensor there only."""
    path = getattr(record, HEAD, None)
    if not isinstance(path, str) or not _has(model, f"{path}.weight"):
        return None
    weight = model.get_submodule(path).weight
    name = next((name for name, value in model.named_parameters() if value is weight), f"{path}.weight")
    return None if name == f"{path}.weight" else name.removesuffix(".weight")
