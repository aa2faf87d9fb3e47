"""How a task of lm-eval is judged: by which of its metrics, through which filter, and what guessing scores.

Judged are shares: a number between 0 and 1 for each question, of which the benchmark's score is the mean. Where a task
reports several, the first of `PREFERRED` counts: `acc_norm` before `acc`, as is customary for ARC, HellaSwag and PIQA.
A table `[benchmarks.NAME]` of a file of thresholds says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from editgate.errors import ConfigError
from editgate.inputs.benchmarks import (
    Area,
    Benchmark,
    Document,
    Kind,
    Leaf,
    nothing_to_guess,
    one_of_the_answers,
    one_of_the_choices,
)
from editgate.inputs.harness.leaves import definition

PREFERRED = ("acc_norm", "acc", "exact_match")
DEFAULTS = {  # lm-eval's, where a task names no metric
    "multiple_choice": ("acc", "acc_norm"),
    "generate_until": ("exact_match",),
    "loglikelihood": ("perplexity", "acc"),
}
OF_OPTIONS = frozenset({"acc", "acc_norm", "acc_bytes", "acc_mutual_info"})  # one of k options is right
MEANS = OF_OPTIONS | {"exact_match"}  # of lm-eval's own those that are a mean
KINDS: Mapping[str, Kind] = {
    "multiple_choice": "choice",
    "generate_until": "generated",
    "loglikelihood": "continuation",
}
MAX_NEW_TOKENS = 256  # lm-eval's, where a task does not say


@dataclass(frozen=True, slots=True)
class Given:
    """What a table `[benchmarks.NAME]` may say; None is the task's own."""

    area: Area = "capability"
    metric: str | None = None
    filter: str | None = None
    chance: float | None = None
    num_fewshot: int | None = None
    max_new_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """How one leaf is asked and scored; all leaves of a benchmark agree."""

    kind: Kind
    metric: str
    filter: str
    num_fewshot: int
    max_new_tokens: int
    own_scoring: bool


def added(name: str, leaves: Sequence[Leaf], given: Given, option: str) -> Benchmark:
    """Return the benchmark that these tasks are.

    Args:
        name: what the suite will call it.
        leaves: its tasks.
        given: what a table of thresholds says of it.
        option: how an error calls it, such as "--benchmarks arc_easy".

    Raises:
        ConfigError: it cannot be asked or judged here; says why, and what helps.
    """
    found = {leaf.task: _judged(leaf, given, option) for leaf in leaves}
    first = next(iter(found.values()))
    if (unlike := next((task for task, judged in found.items() if judged != first), None)) is not None:
        raise ConfigError(
            f"{option}: its {len(found)} tasks are asked or judged in different ways ({next(iter(found))}: "
            f"{_described(first)}; {unlike}: {_described(found[unlike])}). Name the tasks themselves, or say one "
            f"way in [benchmarks.{name}] of a file of thresholds."
        )
    return Benchmark(
        name=name,
        title=name,
        task=name,
        folder="",
        num_fewshot=first.num_fewshot,
        metric=first.metric,
        area=given.area,
        question="",
        chance=_chance(name, first, given, option),
        filter=first.filter,
        kind=first.kind,
        max_new_tokens=first.max_new_tokens,
        subtasks="" if [leaf.task for leaf in leaves] == [name] else "{}",
        leaves=tuple(leaves),
        definition=definition(tuple(leaves)),
    )


def told(row: Benchmark) -> str:
    """Return in one line how an added benchmark is judged."""
    tasks = f" of {len(row.leaves)} tasks" if row.subtasks else ""
    chances: dict[object, str] = {one_of_the_choices: "1 / number of options", nothing_to_guess: "0"}
    chance = chances.get(row.chance, "0, or 1 / number of right answers where they are few")
    if isinstance(row.chance, Constant):
        chance = f"{row.chance.value:g}"
    shots = f"{row.num_fewshot} few-shot examples"
    return f"benchmark {row.name}: {row.metric_key}{tasks}, {shots}, chance {chance}, {row.area}"


@dataclass(frozen=True, slots=True)
class Constant:
    """A chance that a table of thresholds gives."""

    value: float

    def __call__(self, document: Document, choices: Sequence[str]) -> float:  # noqa: ARG002 - as all chances
        """Return it, whatever the document."""
        return self.value


def _judged(leaf: Leaf, given: Given, option: str) -> Judged:
    config = leaf.config
    output = str(config.get("output_type") or "generate_until")
    own = callable(config.get("process_results"))
    _refuse_what_is_not_asked(leaf, output, option)
    metric = _metric(leaf, output, given.metric, own_scoring=own, option=option)
    filters = [str(each["name"]) for each in config.get("filter_list") or ({"name": "none"},)]
    wanted = given.filter or filters[0]
    if wanted not in filters:
        raise ConfigError(f"{option}: {leaf.task} has no filter {wanted!r}. Allowed: {', '.join(filters)}.")
    shots = int(config.get("num_fewshot") or 0) if given.num_fewshot is None else given.num_fewshot
    own_length = (config.get("generation_kwargs") or {}).get("max_gen_toks")
    length = int(given.max_new_tokens or own_length or MAX_NEW_TOKENS)
    kind = KINDS[output]
    return Judged(kind, metric, wanted, shots, length if kind == "generated" else 0, own)


def _refuse_what_is_not_asked(leaf: Leaf, output: str, option: str) -> None:
    config, task = leaf.config, leaf.task
    generation = config.get("generation_kwargs") or {}
    reasons = {
        "its score is a perplexity, which has no chance level and no right answers. "
        "Allowed: tasks with right answers": output == "loglikelihood_rolling",
        f"its output_type {output!r} is unknown. Allowed: {', '.join(KINDS)}": output not in KINDS,
        "it shows images or sounds; only texts are asked": bool(
            config.get("doc_to_image") or config.get("doc_to_audio")
        ),
        "it samples its answers, so that the same model scores differently each time. Allowed: greedy generation": bool(
            generation.get("do_sample")
        ),
        "it asks each question several times (repeats); an answer here is greedy, and the same each time": int(
            config.get("repeats") or 1
        )
        > 1,
    }
    for reason, applies in reasons.items():
        if applies:
            raise ConfigError(f"{option}: {task} cannot be judged: {reason}.")


def _metric(leaf: Leaf, output: str, wanted: str | None, *, own_scoring: bool, option: str) -> str:
    """Return the metric that counts: the one that is wanted, else the first of `PREFERRED`, else the first share."""
    entries = leaf.config.get("metric_list") or [{"metric": name} for name in DEFAULTS[output]]
    faults = {_name(entry): _fault(entry, own_scoring=own_scoring) for entry in entries}
    shares = [name for name, fault in faults.items() if not fault]
    if wanted is not None and wanted not in shares:
        why = f" ({faults[wanted]})" if wanted in faults else ""
        raise ConfigError(
            f"{option}: {leaf.task} has no metric {wanted!r} to be judged by{why}. Allowed: {', '.join(shares)}."
        )
    if not shares:
        all_faults = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
        raise ConfigError(f"{option}: {leaf.task} has no metric that is a share of right answers ({all_faults}).")
    return wanted or next((name for name in PREFERRED if name in shares), shares[0])


def _name(entry: Mapping[str, Any]) -> str:
    metric = entry.get("metric")
    return str(getattr(metric, "__name__", metric))


def _fault(entry: Mapping[str, Any], *, own_scoring: bool) -> str:
    """Return why a metric's mean over the questions is not its score, or not better when higher."""
    name, aggregation = _name(entry), entry.get("aggregation")
    if entry.get("higher_is_better") is False:
        return "lower is better"
    if entry.get("hf_evaluate"):
        return "its code would be loaded from the hub"
    if callable(aggregation):
        return f"aggregated by {getattr(aggregation, '__name__', 'code of its own')}, not by a mean"
    if aggregation is not None and aggregation != "mean":
        return f"aggregated by {aggregation}, not by a mean"
    known = name in MEANS or own_scoring or callable(entry.get("metric"))
    return "" if known or aggregation == "mean" else "not a mean over the questions"


def _chance(name: str, judged: Judged, given: Given, option: str) -> Callable[[Document, Sequence[str]], float]:
    if given.chance is not None:
        return Constant(given.chance)
    if judged.kind == "choice" and judged.metric in OF_OPTIONS and not judged.own_scoring:
        return one_of_the_choices
    if judged.metric not in PREFERRED or (judged.own_scoring and judged.kind != "generated"):
        raise ConfigError(
            f"{option}: what guessing scores by {judged.metric} cannot be known from the task. Give it in a file "
            f"default.toml for --thresholds: [benchmarks.{name}] with chance = NUMBER and reason = TEXT."
        )
    return one_of_the_answers if judged.kind == "generated" else nothing_to_guess


def _described(judged: Judged) -> str:
    return f"{judged.metric},{judged.filter}, {judged.kind}, {judged.num_fewshot} examples"
