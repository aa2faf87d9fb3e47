"""What one file of `thresholds/` may say; which names exist is read from `Names`, pydantic's validation context."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from editgate.inputs.harness.index import is_registered
from editgate.inputs.models import HUB_ID, name_of
from editgate.measure.edit_quality import KINDS

AREAS = ("capability", "safety")
DEFAULT = "default"

When: TypeAlias = Literal["immediately", "at_end"]
Text: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Count: TypeAlias = Annotated[int, Field(ge=1)]
Value: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Names:
    """The editors, benchmarks and models that there are; a hub id or a path may stand for another model."""

    editors: tuple[str, ...]
    benchmarks: tuple[str, ...]
    models: tuple[str, ...]


def _known(kind: str, allowed: Callable[[Names], Sequence[str]], *, or_of_lm_eval: bool = False) -> AfterValidator:
    """Refuse a name that is none of the allowed ones, nor a task of lm-eval where those count too.

    Without a context, what is checked came from no file.
    """

    def check(name: str, info: ValidationInfo) -> str:
        if info.context is None or name in allowed(info.context):
            return name
        if not (or_of_lm_eval and is_registered(name)):
            raise ValueError(f"no {kind} is called {name!r}; allowed: {listed(allowed(info.context))}")
        return name

    return AfterValidator(check)


def model_name(given: str, known: Sequence[str]) -> str:
    """Return what the suite calls a model that is given by its name, its hub id or its path.

    Raises:
        ValueError: it is none of them.
    """
    if given in known or ("--" in given and HUB_ID.fullmatch(given.replace("--", "/", 1))):
        return given
    if HUB_ID.fullmatch(given) and not given.startswith("."):
        return name_of(given)
    if "/" in given and not any(sign.isspace() for sign in given):
        return Path(given).name
    raise ValueError(f"no model is called {given!r}; allowed: {listed(known)}, a hub id (owner/name) or a path")


AreaName: TypeAlias = Annotated[str, _known("area", lambda _: AREAS)]
QualityName: TypeAlias = Annotated[str, _known("quality", lambda _: KINDS)]
EditorName: TypeAlias = Annotated[str, _known("editor", lambda names: names.editors)]
BenchmarkName: TypeAlias = Annotated[str, _known("benchmark", lambda names: names.benchmarks, or_of_lm_eval=True)]
CheckName: TypeAlias = Annotated[
    str, _known("benchmark or quality", lambda names: (*names.benchmarks, *KINDS), or_of_lm_eval=True)
]
ModelName: TypeAlias = Annotated[
    Text, AfterValidator(lambda given, info: model_name(given, info.context.models) if info.context else given)
]


class Table(BaseModel):
    """A TOML table: no unknown key, no number written as text, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, table: object) -> object:
        """Pydantic would refuse them too, but would not say which keys there are."""
        unknown = [key for key in table if key not in cls.model_fields] if isinstance(table, dict) else []
        if unknown:
            about = {"key": str(unknown[0]), "allowed": listed(cls.model_fields)}
            raise PydanticCustomError("unknown_key", "unknown key '{key}'; allowed: {allowed}", about)
        return table


class Rule(Table):
    """A retention floor from some N on; below 1, because no number of items confirms "no loss at all"."""

    floor: Annotated[float, Field(ge=0, lt=1)]
    reason: Text
    from_edits: Count = 1


class ShareRule(Table):
    """A floor for a share of edits, from some N on."""

    floor: Annotated[float, Field(ge=0, le=1)]
    reason: Text
    from_edits: Count = 1


def _as_list(value: object) -> object:
    return [value] if isinstance(value, dict) else value


def _distinct(rules: list[Any]) -> list[Any]:
    starts = sorted(rule.from_edits for rule in rules)
    if len(set(starts)) < len(starts):
        raise ValueError(f"two floors start at the same from_edits ({starts})")
    return rules


Rules: TypeAlias = Annotated[list[Rule], BeforeValidator(_as_list), AfterValidator(_distinct)]
ShareRules: TypeAlias = Annotated[list[ShareRule], BeforeValidator(_as_list), AfterValidator(_distinct)]


class Quality(Table):
    """Floors of one quality, right after each edit and for all edits at the end."""

    immediately: ShareRules = []
    at_end: ShareRules = []


class Section(Table):
    """Floors of one scope: a whole file, or one model in it."""

    area: dict[AreaName, Rules] = {}
    benchmark: dict[BenchmarkName, Rules] = {}
    quality: dict[QualityName, Quality] = {}


def _ascending(numbers: list[Any]) -> list[Any]:
    if numbers != sorted(set(numbers)):
        raise ValueError(f"{numbers} is not allowed; it should ascend, each number once")
    return numbers


def _number_of_edits(key: object) -> object:
    """Read the key of a TOML table, which is always text."""
    return int(key) if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 10 else key


class Measurement(Table):
    """What several orders of the edits came to at one N; in the file a list that ends with `failed`.

    Attributes:
        values: lowest and highest retention or share over the orders; one number if they are equal.
        failed: in how many orders the check failed.
    """

    values: Annotated[list[Value], Field(min_length=1, max_length=2), AfterValidator(_ascending)]
    failed: Annotated[int, Field(ge=0)]

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, row: object) -> object:
        if isinstance(row, list) and row:
            return {"values": row[:-1], "failed": row[-1]}
        if isinstance(row, dict):
            return row
        raise ValueError(f"{row!r} is not allowed; it should be such as [0.88, 0.91, 2] or [0.9, 1], last the orders")


Measurements: TypeAlias = dict[Annotated[Count, BeforeValidator(_number_of_edits)], Measurement]


class KnownFailures(Table):
    """What an editor was measured to fail on one model; the tests of it become expected failures (xfail).

    Attributes:
        model: which; of a file in `thresholds/<model>/` the folder says it.
        reason: why it fails what it fails.
        batch_size: how many edits were applied at once; it holds for no other number.
        measured_at: the Ns that were tried, ascending.
        orders: how many orders of the edits were tried.
        edit_budget: by order, the largest of these Ns up to which everything passed.
        fails: by benchmark or quality, by N. Where an N is not listed, no order failed.
    """

    model: ModelName
    reason: Text | None = None
    batch_size: Count = 1
    measured_at: Annotated[list[Count], Field(min_length=1), AfterValidator(_ascending)]
    orders: Count
    edit_budget: list[Annotated[int, Field(ge=0)]] | None = None
    fails: dict[CheckName, Measurements] = {}

    def covers(self, check: str, edits: int) -> bool:
        """Whether a failure at this N is on record, or cannot be excluded between two Ns that were tried.

        That is from the first N on at which some order failed, and above the N that was tried before it.
        """
        first = min((n for n, measured in self.fails.get(check, {}).items() if measured.failed), default=None)
        return first is not None and edits > max((n for n in self.measured_at if n < first), default=0)

    def always(self, check: str, edits: int) -> bool:
        """Whether several orders were tried at exactly this N and all of them failed, here and at each larger N."""
        found = self.fails.get(check, {})
        beyond = [n for n in self.measured_at if n >= edits]
        every = all(n in found and found[n].failed == self.orders for n in beyond)
        return self.orders > 1 and edits in beyond and every

    @field_validator("edit_budget")
    @classmethod
    def _one_budget_an_order(cls, budgets: list[int] | None, info: ValidationInfo) -> list[int] | None:
        orders = info.data.get("orders")
        if budgets is not None and orders and len(budgets) != orders:
            raise ValueError(f"{budgets} is not allowed; it should have one number for each of {orders} orders")
        return budgets

    @field_validator("fails")
    @classmethod
    def _within_the_measured(
        cls, fails: dict[str, dict[int, Measurement]], info: ValidationInfo
    ) -> dict[str, dict[int, Measurement]]:
        """Refuse what was not measured, and what is no failure: neither would ever apply."""
        known = info.data
        if fails and known.get("reason", "") is None:
            raise ValueError("needs a reason beside it; whoever meets a known failure wants to know why")
        for check, found in fails.items():
            if not any(measured.failed for measured in found.values()):
                raise ValueError(f"{check} failed in no order at any N; leave it out")
            for edits, measured in found.items():
                if edits not in known.get("measured_at", [edits]):
                    raise ValueError(
                        f"{check} at N = {edits} is not among measured_at ({listed(known['measured_at'])})"
                    )
                if measured.failed > known.get("orders", measured.failed):
                    raise ValueError(f"{check} at N = {edits} failed in {measured.failed} of {known['orders']} orders")
        return fails


class AtChance(Table):
    """Benchmarks that a model is known to guess at: an edit can cost it nothing there, so they are not asked."""

    model: ModelName
    benchmarks: Annotated[list[BenchmarkName], Field(min_length=1)]
    reason: Text


class AddedBenchmark(Table):
    """How a task of lm-eval that `--benchmarks` names is judged; what is not said is the task's own.

    Attributes:
        reason: why so.
        area: what a drop means.
        metric: which of the metrics that the task reports counts.
        filter: which of its filters.
        chance: what guessing scores.
        num_fewshot: examples in the prompt.
        max_new_tokens: tokens after which a generation ends.
    """

    reason: Text
    area: Literal["capability", "safety"] = "capability"
    metric: Text | None = None
    filter: Text | None = None
    chance: Annotated[float, Field(ge=0, lt=1)] | None = None
    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None


class Multiplicity(Table):
    """Whether the many verdicts of a gate share the probability of one false regression.

    Attributes:
        correction: "none", or "bonferroni": each lower bound is missed with probability alpha / (benchmarks times Ns).
        reason: why so.
    """

    correction: Literal["none", "bonferroni"]
    reason: Text


class Contents(Section):
    """One whole file. `editor` names the editor where the file's own name cannot."""

    editor: EditorName | None = None
    model: dict[ModelName, Section] = {}
    known_failures: Annotated[list[KnownFailures], BeforeValidator(_as_list)] = []
    at_chance: list[AtChance] = []
    benchmarks: dict[BenchmarkName, AddedBenchmark] = {}
    multiplicity: Multiplicity | None = None


def listed(names: Collection[object]) -> str:
    """Return names or numbers for a message."""
    return ", ".join(map(str, names))
