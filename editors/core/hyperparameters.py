"""One frozen, validated record per method; defaults per known model are data (`defaults/*.toml`)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from editors.core.errors import HyperparameterError
from editors.models.tokens import FactToken

FOLDER = Path(__file__).resolve().parent.parent / "defaults"
NOTES = ("source", "aliases")  # keys of a table that are not hyperparameters


def _a_set(layers: tuple[int, ...]) -> tuple[int, ...]:
    if not layers or min(layers) < 0 or len(set(layers)) != len(layers):
        raise ValueError("layers must be different and not negative")
    return tuple(sorted(layers))


Layers = Annotated[tuple[int, ...], AfterValidator(_a_set)]


def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise ValueError("inner_params must be different")
    return names


InnerParams = Annotated[tuple[str, ...], AfterValidator(_different), Field(min_length=1)]


class BaseHyperparameters(BaseModel):
    """Base of each method's record: frozen; unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LocateHyperparameters(BaseHyperparameters):
    """Hyperparameters of all methods that optimize a value. Names are those of the authors' code."""

    layers: Layers = Field(min_length=1, description="blocks whose MLP down-projection is edited")
    fact_token: FactToken = Field("subject_last", description="the token whose key is edited")
    v_num_grad_steps: int = Field(ge=1, description="loss evaluations of the value search, one more than Adam steps")
    v_lr: float = Field(0.5, gt=0, description="Adam's rate in the value search")
    v_loss_layer: int | None = Field(None, ge=0, description="block the targets are read from; none: the last")
    v_weight_decay: float = Field(ge=0, description="weight of |delta| / |v0|^2 in the search's loss")
    clamp_norm_factor: float = Field(gt=0, description="longest delta allowed, in lengths of v0")
    kl_factor: float = Field(0.0625, ge=0, description="weight of the essence drift in the search's loss")
    context_template_length_params: tuple[tuple[int, int], ...] = Field(
        description="contexts to generate: pairs (length in tokens, how many)"
    )

    @field_validator("context_template_length_params")
    @classmethod
    def _contexts_are_positive(cls, pairs: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        if any(length < 1 or count < 1 for length, count in pairs):
            raise ValueError("lengths and counts must be at least 1")
        return pairs


Record = TypeVar("Record", bound=BaseHyperparameters)


@cache
def tables(method: str) -> dict[str, dict[str, Any]]:
    """The default tables of a method, by model key; empty if the method ships none."""
    path = FOLDER / f"{method}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def defaults(method: str, model: str) -> dict[str, Any] | None:
    """Hyperparameters shipped for a model's key or alias, `None` if there are none."""
    wanted = model.lower()
    for key, table in tables(method).items():
        if wanted in (key, *table.get("aliases", ())):
            return {name: value for name, value in table.items() if name not in NOTES}
    return None


def known_anywhere(model: str) -> bool:
    """Whether any method ships hyperparameters for a model's key or alias."""
    return any(defaults(path.stem, model) is not None for path in FOLDER.glob("*.toml"))


def model_key(model: object) -> str:
    """Last component of the name or path that a model was loaded from."""
    name = str(getattr(getattr(model, "config", None), "name_or_path", "") or "")
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2].lower()


def build(record: type[Record], method: str, model: str, given: Mapping[str, Any], *, explicit: bool) -> Record:
    """The record from a model's defaults with the given values over them.

    Args:
        record: The method's hyperparameter class.
        method: Name of the method, for its table file and messages.
        model: Model key.
        given: Values that replace defaults; `layer=2` stands for `layers=(2,)`.
        explicit: The key was named by the caller, so some method must have defaults for it.

    Raises:
        HyperparameterError: A name is unknown, a value out of bounds, or the model unknown and a value
            missing.
    """
    values = known_names(tuple(record.model_fields), method, given)
    fields = record.model_fields
    shipped = defaults(method, model)
    missing = [name for name, field in fields.items() if field.is_required() and name not in values]
    if shipped is None and (missing or (explicit and not known_anywhere(model))):
        known = ", ".join(tables(method)) or "none"
        needed = f"; or give {', '.join(missing)}" if missing else ""
        raise HyperparameterError(f"{method} has no defaults for the model {model!r}; it has them for {known}{needed}")
    try:
        return record.model_validate({**(shipped or {}), **values})
    except ValidationError as error:
        raise HyperparameterError(_sentence(method, error)) from None


def known_names(fields: Sequence[str], method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The given values under the names of the record's fields: `layer=2` stands for `layers=(2,)`.

    Raises:
        HyperparameterError: A name is unknown.
    """
    values = dict(given)
    if "layer" in values and "layer" not in fields and "layers" in fields:
        values["layers"] = (values.pop("layer"),)
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise HyperparameterError(f"{method} has no hyperparameter {', '.join(unknown)}; it has {', '.join(fields)}")
    return values


def _sentence(method: str, error: ValidationError) -> str:
    faults = [
        f"{'.'.join(str(part) for part in fault['loc'])} is {fault.get('input')!r}: {fault['msg']}"
        for fault in error.errors()
    ]
    return f"{method}: " + "; ".join(faults)
