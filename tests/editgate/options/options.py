"""The options, each written once: for `--help`, `check_editor`, validation and the command that repeats a test."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from editgate import inert
from editgate.errors import ConfigError
from editgate.inputs.covariance_texts import TOKENS
from editgate.inputs.files.validation import brief
from editgate.options.profiles import MODEL, PROFILES
from editgate.verdict.bisection import ORDERS


def option(default: object, help_text: str, *, metavar: str = "", repeat: bool = False, bare: str = "") -> Any:  # noqa: ANN401 - as pydantic's Field
    """Declare one option.

    Args:
        default: its value where it is not given.
        help_text: for `--help`.
        metavar: how `--help` calls its value.
        repeat: whether it decides a verdict, so that the command that repeats a test must have it.
        bare: the value of the option without one.
    """
    return Field(default, description=help_text, json_schema_extra={"metavar": metavar, "repeat": repeat, "bare": bare})


def _as_text(value: object) -> object:
    """`edit_counts=(1, 5)` in Python is `--edit-counts=1,5`."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str | Path) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_as_tuple)]
Counts = Annotated[str, BeforeValidator(_as_text)]


class Options(BaseModel):
    """What a person may choose; None is the profile's choice or nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: str = option(
        "default",
        "defaults for --model, --edits, --edit-counts, --limit and --inconclusive",
        metavar="|".join(PROFILES),
        repeat=True,
    )
    model: str | None = option(
        None, f"model to edit. Default: {MODEL}", metavar="NAME|DIR|FILE.gguf|HUB_ID", repeat=True
    )
    editor: Texts = option(
        (),
        "run this editor only; may be given again. Default: all built-in ones",
        metavar="NAME|module:Class",
        repeat=True,
    )
    editor_arg: Texts = option(
        (),
        "a hyperparameter of the one --editor; may be given again. Default: those shipped for the model",
        metavar="KEY=VALUE",
        repeat=True,
    )
    hyperparameters: Path | None = option(
        None,
        "hyperparameters for this model: a table [EDITOR] each, EDITOR.toml with a table [MODEL] as in "
        "editors/defaults/, or a folder of such",
        metavar="FILE|DIR",
        repeat=True,
    )
    thresholds: Paths = option(
        (),
        "floors and known failures of your own, before the shipped ones; may be given again",
        metavar="FILE",
        repeat=True,
    )
    edits: str | None = option(
        None,
        "counterfact, zsre, a JSON or JSONL file, or answers:FILE (ZsRE towards its true answers). "
        "Default: counterfact",
        metavar="NAME|FILE",
        repeat=True,
    )
    skip_bad_edits: bool = option(
        default=False,
        help_text="leave out records of --edits that hold no edit, and list them; without it one refuses the file",
        repeat=True,
    )
    edited: Path | None = option(
        None,
        "judge this changed model (or a PEFT adapter to --model) instead of an editor; with --edits also whether edits "
        "took",
        metavar="DIR|FILE.gguf",
        repeat=True,
    )
    edit_counts: Counts | None = option(
        None,
        "numbers of edits after which the model is judged. Default: the profile's",
        metavar="N,N,…",
        repeat=True,
    )
    batch_size: int = option(
        1, "edits applied at once, by methods that take batches; N counts edits", metavar="B", repeat=True
    )
    edit_order: int = option(0, "another order of the same edits; 0 is the file's own", metavar="SEED", repeat=True)
    budget: str | None = option(
        None,
        "find the largest N up to which everything passes, by bisection, over so many orders of the edits; nothing "
        f"else runs. Write --budget=5, or --budget alone for {ORDERS}",
        metavar="ORDERS",
        repeat=True,
        bare=str(ORDERS),
    )
    min_budget: int | None = option(
        None, "fail if the edit budget is below N in some order; implies --budget", metavar="N", repeat=True
    )
    benchmarks: Counts | None = option(
        None,
        "ask these alone: of the default ones, or any task, group, tag or YAML file of lm-eval. default stands for all "
        "that are asked without the option",
        metavar="NAME,FILE.yaml,…",
        repeat=True,
    )
    limit: int | None = option(
        None, "at most N items a benchmark. Default: all but those in reserve", metavar="N", repeat=True
    )
    items: Literal["auto"] | None = option(
        None,
        "ask in blocks, and stop a benchmark as soon as its verdict is decided; at most --limit. Default: ask all",
        repeat=True,
    )
    documents: Path | None = option(
        None,
        "benchmark documents for a --model that was not trained here, instead of the data sets on the hub",
        metavar="DIR",
        repeat=True,
    )
    covariance_text: Path | None = option(
        None,
        "text to compute covariances from for such a --model. Default: wikitext from the hub",
        metavar="FILE",
        repeat=True,
    )
    covariance_tokens: int | None = option(
        None, f"about so many tokens of that text. Default: {TOKENS}", metavar="N", repeat=True
    )
    device: str = option("cpu", "where models run: cpu, cuda, or auto for wherever there is room", repeat=True)
    max_memory: str | None = option(
        None,
        "what --device=auto may take of each device, such as 0:20GiB,cpu:60GiB; nothing else is used, what does not "
        "fit stays on disk. Default: what is free",
        metavar="DEVICE:SIZE,…",
        repeat=True,
    )
    dtype: Literal["bfloat16", "float16", "float32"] = option("float32", "type of the models' weights", repeat=True)
    store: Path | None = option(
        None,
        "checkpoints and outcomes. Default: .editgate in the root directory. python -m editgate.store makes room there",
        metavar="DIR",
    )
    report: Path | None = option(
        None,
        "write report.html, report.md and report.json there, also when the run fails or is interrupted",
        metavar="DIR",
    )
    shard: str | None = option(
        None,
        "compute this part of what the run needs into the store, and judge nothing; the same command without it judges",
        metavar="K/N",
    )
    ray: str | None = option(
        None,
        "compute what the run needs on Ray, then judge here. Write --ray alone to start one on this machine; auto or "
        "HOST:PORT joins a cluster that this machine is part of",
        metavar="auto|HOST:PORT",
        bare="here",
    )
    ray_worker: str | None = option(
        None,
        "what each worker of --ray takes. Default: cpus=1, gpus=1 where --device is no CPU, and memory for the model",
        metavar="cpus=N,gpus=N,memory=SIZE",
    )
    compare: Path | None = option(None, "an earlier run's report.json: say what changed since then", metavar="OLD.json")
    inconclusive: Literal["fail", "pass"] | None = option(
        None, "what an inconclusive verdict does to its test. Default: the profile's, mostly fail", repeat=True
    )

    @classmethod
    def of(cls, given: Mapping[str, object]) -> Self:
        """Return the checked options; what is None or missing keeps its default.

        Raises:
            ConfigError: an option is unknown, or a value is not of its kind.
        """
        if unknown := sorted(set(given) - set(cls.model_fields)):
            raise ConfigError(f"there is no option {unknown[0]!r}. Allowed: {', '.join(sorted(cls.model_fields))}.")
        named = {name: value for name, value in given.items() if value is not None}
        for name, value in named.items():
            _refuse_no_text(flag(name), value)
        try:
            return cls.model_validate(named)
        except ValidationError as error:
            first = error.errors()[0]
            message = first["msg"].removeprefix("Input ").removeprefix("should be ")
            raise ConfigError(f"{flag(str(first['loc'][0]))} {brief(first['input'])}; allowed: {message}.") from error

    @classmethod
    def of_command_line(cls, parsed: Namespace) -> Self:
        """Return the checked options that argparse or pytest parsed.

        Raises:
            ConfigError: a value is not of its kind.
        """
        return cls.of({name: getattr(parsed, name, None) for name in cls.model_fields})

    def repeated(self) -> list[str]:
        """Return the arguments that decide a verdict and differ from their defaults, quoted for a shell."""
        return [
            flag(name) if value is True else f"{flag(name)}={inert.shell(str(value))}"
            for name, field in type(self).model_fields.items()
            if _extra(field)["repeat"] and getattr(self, name) != field.default
            for value in _values(getattr(self, name))
        ]


class Group(Protocol):
    """What pytest's option groups and argparse's parsers share."""

    def addoption(self, *names: str, **attributes: Any) -> None:  # noqa: ANN401 - as pytest declares it
        """Add one option."""


def add_to(group: Group) -> None:
    """Add all options; values stay text, `Options` checks them."""
    for name, field in Options.model_fields.items():
        extra = _extra(field)
        attributes: dict[str, Any] = {"help": f"{field.description}{_default_shown(field)}", "default": None}
        if extra["metavar"] or _choices(field):
            attributes["metavar"] = extra["metavar"] or "|".join(_choices(field))
        if isinstance(field.default, tuple):
            attributes["action"] = "append"
        if field.annotation is bool:
            attributes["action"] = "store_true"
        if extra["bare"]:
            attributes |= {"nargs": "?", "const": extra["bare"]}
        group.addoption(flag(name), **attributes)


def flag(name: str) -> str:
    """Return how the command line writes an option: `edit_counts` is `--edit-counts`."""
    return f"--{name.replace('_', '-')}"


def _refuse_no_text(option_flag: str, value: object) -> None:
    """Refuse nothing (an unset variable of a script would mean the default) and bytes that are no UTF-8.

    Raises:
        ConfigError: names the option.
    """
    for text in value if isinstance(value, list | tuple) else (value,):
        if text == "":
            raise ConfigError(f"{option_flag} is empty. Allowed: a value, or the option left out for its default.")
        if isinstance(text, str) and ("\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text)):
            raise ConfigError(f"{option_flag} {text!r} is no text in UTF-8.")


def _extra(field: FieldInfo) -> Mapping[str, Any]:
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    return extra


def _choices(field: FieldInfo) -> tuple[str, ...]:
    kinds = [field.annotation, *get_args(field.annotation)]
    return next((tuple(get_args(kind)) for kind in kinds if get_origin(kind) is Literal), ())


def _default_shown(field: FieldInfo) -> str:
    return "" if field.default in (None, (), False) else f". Default: {field.default}"


def _values(value: object) -> Iterator[object]:
    if isinstance(value, tuple):
        yield from value
    elif value is not None:
        yield value
