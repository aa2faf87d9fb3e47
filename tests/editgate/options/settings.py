"""The command line, read and checked before any model is loaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from editgate.cache.store import Store
from editgate.errors import ConfigError
from editgate.inputs import edit_lists, editor_specs, models
from editgate.inputs.benchmarks import ALL, Benchmark, benchmarks_for
from editgate.inputs.covariance_texts import TOKENS
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.harness.specs import is_local
from editgate.inputs.model_loading import AUTO
from editgate.inputs.models import ModelSource
from editgate.options import chosen_benchmarks, chosen_editors, chosen_edits, devices, profiles, unsuited
from editgate.options.chosen_benchmarks import ChosenBenchmarks
from editgate.options.options import Options
from editgate.options.profiles import Profile
from editgate.plan import shards
from editgate.plan.shards import Shard
from editgate.verdict.bisection import BudgetRequest, budget_request
from editgate.verdict.threshold_schema import DEFAULT
from editgate.verdict.thresholds import SHIPPED, KnownFailure, Policy, load_policy
from editors import Edit

DEVICES = ("cpu", "cuda", "mps", "xpu", "hpu", "xla", "mtia")  # of torch's kinds those that run models


@dataclass(frozen=True)
class Settings:
    """What a run is about; everything in it has been checked.

    Attributes:
        profile: where the defaults came from.
        models: all models that get test parameters; `chosen_models` are those that run.
        chosen_models: names given by `--model`.
        editors: all editors that get test parameters.
        chosen_editors: names given by `--editor`; empty: all.
        edits: by model name.
        edits_name: what people call them, with what they should know of the list.
        counts: the Ns, ascending.
        order: which order the edits come in; 0 is the file's own.
        batch_size: how many edits are applied at once.
        limit: items per benchmark, or None for all.
        device: where models run.
        max_memory: bytes that `auto` may take of each device, by its number or "cpu"; None: what is free.
        dtype: name of the models' type.
        store: for checkpoints, baselines and outcomes.
        inconclusive: "fail" or "pass".
        policy: the thresholds.
        budget: what `--budget` and `--min-budget` ask for; None: nothing.
        covariance_tokens: of the text that covariances of a model from elsewhere are computed from.
        skipped_edits: records of the list that hold no edit, and why.
        benchmarks: all that there are: the table, and what `--benchmarks` adds to it.
        chosen_benchmarks: names given by `--benchmarks`; None: those of the table.
        shard: the part of the work that is done instead of judging; None: the run judges.
        stops_early: whether a benchmark is asked only until its verdict is decided.
    """

    profile: Profile
    models: tuple[ModelSource, ...]
    chosen_models: frozenset[str]
    editors: tuple[EditorSpec, ...]
    chosen_editors: frozenset[str]
    edits: dict[str, tuple[Edit, ...]]
    edits_name: str
    counts: tuple[int, ...]
    order: int
    batch_size: int
    limit: int | None
    device: str
    dtype: str
    store: Store
    inconclusive: str
    policy: Policy
    budget: BudgetRequest | None = None
    covariance_tokens: int = TOKENS
    skipped_edits: tuple[str, ...] = ()
    benchmarks: Mapping[str, Benchmark] = field(default_factory=lambda: ALL)
    chosen_benchmarks: frozenset[str] | None = None
    shard: Shard | None = None
    stops_early: bool = False
    max_memory: Mapping[int | str, int] | None = None

    def known_failure(self, editor: EditorSpec, model: ModelSource, name: str, edits: int) -> KnownFailure | None:
        """Return the known failure that covers this case; a built-in's are those of its shipped hyperparameters.

        With fewer items, or where doubt passes, what always fails may hold: then it is no surprise if it does.
        """
        if editor.built_in and editor.settings:
            return None
        found = self.policy.known_failure(editor.name, model.name, name, edits, editor.batch_size)
        if found is None or (self.limit is None and not self.stops_early and self.inconclusive == "fail"):
            return found
        return replace(found, always=False)

    def model(self, name: str) -> ModelSource:
        """Return the model of that name."""
        return next(model for model in self.models if model.name == name)

    def editor(self, name: str) -> EditorSpec:
        """Return the editor of that name."""
        return next(editor for editor in self.editors if editor.name == name)

    def edits_of(self, model: ModelSource) -> tuple[Edit, ...]:
        """Return the edits that a model gets up to the largest N; rules of integrity may take one more."""
        return self.edits[model.name][: self.counts[-1]]

    def suits(self, editor: EditorSpec, model: ModelSource) -> bool:
        """Return whether an editor takes this model's edits, as many at once as it would get."""
        return unsuited.suits(editor, self.edits_of(model))

    def benchmarks_of(self, model: ModelSource) -> tuple[str, ...]:
        """Return the benchmarks that a model is asked, but for those that it is known to guess at."""
        suited = [name for name in benchmarks_for(chat=model.chat) if self.asks(name)] + self.added_benchmarks
        return tuple(name for name in suited if self.policy.at_chance(model.name, name) is None)

    def lower_alpha(self, model: ModelSource) -> float:
        """Return the error probability of a lower bound: one test, or all, as `[multiplicity]` of the policy says."""
        return self.policy.lower_alpha(len(self.benchmarks_of(model)) * len(self.counts))

    def asks_in_blocks(self, benchmark: str) -> bool:
        """Whether a benchmark is asked only until its verdict is decided; a probe is asked at once."""
        return self.stops_early and not self.benchmarks[benchmark].probe

    @property
    def every_worker_has_room(self) -> bool:
        """Whether each worker can hold a model, however many there are: it has a device, or models are shipped ones."""
        chosen = [model for model in self.models if model.name in self.chosen_models]
        return devices.each_worker_has_one(self.device) or all(model.miniature for model in chosen)

    @property
    def added_benchmarks(self) -> list[str]:
        """Those that are not in the table."""
        return [name for name, row in self.benchmarks.items() if row.added]

    def asks(self, benchmark: str) -> bool:
        """Whether the run is about this benchmark, if its models are."""
        return self.chosen_benchmarks is None or benchmark in self.chosen_benchmarks

    @property
    def scores_as_recorded(self) -> bool:
        """Whether everything that a baseline depends on is as it was when baselines were recorded."""
        return (self.limit, self.device, self.dtype) == (None, "cpu", "float32")

    @property
    def as_recorded(self) -> bool:
        """Whether everything that a retention curve depends on is as it was when curves were recorded."""
        given = (self.edits_name, self.counts, self.order, self.limit, self.device, self.dtype)
        recorded = (profiles.EDITS, chosen_edits.parse_counts(profiles.COUNTS), 0, None, "cpu", "float32")
        return given == recorded and not self.stops_early and self.chosen_benchmarks is None


def read(options: Options, store: Path, *, model_names: Sequence[str] = ()) -> Settings:
    """Check every option and everything that it names.

    Args:
        options: as they were given.
        store: where the store lies unless `--store` says otherwise.
        model_names: the models to judge where `--model` does not name one; the profile's if there are none.

    Raises:
        ConfigError: the first thing that is wrong, with its allowed values.
    """
    shard = shards.read(options.shard)
    profile, batch_size = profiles.find(options.profile), chosen_editors.batch_size(options)
    place = Store(options.store or store)
    benchmarks = chosen_benchmarks.read(options.benchmarks, (SHIPPED / f"{DEFAULT}.toml", *options.thresholds))
    chosen = _chosen_models(options, model_names or profile.models(), profile, place.root, benchmarks)
    known = {name: models.find(name) for name in models.miniatures()} | chosen
    named = chosen_editors.read(options, chosen, place.root)
    listed = [replace(spec, batch_size=batch_size) for spec in (*editor_specs.built_in(), *named)]
    specs = chosen_editors.by_name(options, listed, chosen)
    counts, edits = chosen_edits.read(options, profile, known, chosen)
    place.check_writable()
    place.join()
    found = Settings(
        profile=profile,
        models=tuple(known.values()),
        chosen_models=frozenset(chosen),
        editors=tuple(specs.values()),
        chosen_editors=frozenset(spec.name for spec in named),
        edits={name: edit_lists.ordered(found, counts[-1], options.edit_order) for name, found in edits.items()},
        edits_name=edit_lists.describe(options.edits or profile.edits) if any(edits.values()) else "none listed",
        counts=counts,
        order=chosen_edits.checked_order(options),
        batch_size=batch_size,
        limit=_positive("--limit", profile.limit if options.limit is None else options.limit),
        device=_device(options.device),
        dtype=options.dtype,
        store=place,
        inconclusive=options.inconclusive or profile.inconclusive,
        policy=load_policy(SHIPPED, list(specs), list(benchmarks.known), list(known), options.thresholds),
        budget=budget_request(options.budget, options.min_budget, counts[-1]),
        covariance_tokens=options.covariance_tokens or TOKENS,
        skipped_edits=edit_lists.skipped(options.edits or profile.edits) if any(edits.values()) else (),
        benchmarks=benchmarks.known,
        chosen_benchmarks=benchmarks.names,
        shard=shard,
        stops_early=options.items == "auto",
        max_memory=devices.max_memory(options.max_memory, options.device),
    )
    for source in chosen.values():
        if refusal := unsuited.explain([specs[spec.name] for spec in named], found.edits_of(source)):
            raise ConfigError(refusal)
    for source in chosen.values():  # last, as it takes seconds: of a GGUF file up to minutes, once
        models.check(source)
    return chosen_edits.without_long_edits(found, options)


def _chosen_models(
    options: Options, names: Sequence[str], profile: Profile, store: Path, benchmarks: ChosenBenchmarks
) -> dict[str, ModelSource]:
    wanted = (options.model,) if options.model else names
    if not wanted:
        raise ConfigError(f"--profile {profile.name} needs a --model. Allowed: NAME, DIR or HUB_ID.")
    given = {"documents": options.documents, "covariance_text": options.covariance_text}
    found = [models.find(name, store=store, benchmarks=benchmarks.known, **given) for name in wanted]
    for source in found:
        _check_documents(source, benchmarks)
    _positive("--covariance-tokens", options.covariance_tokens)
    if options.covariance_tokens is not None and any(source.miniature for source in found):
        raise ConfigError(
            f"--covariance-tokens {options.covariance_tokens}: {wanted[0]} was trained here, and all of its own texts "
            "are read. Allowed: with any other --model."
        )
    return {source.name: source for source in found}


def _check_documents(source: ModelSource, benchmarks: ChosenBenchmarks) -> None:
    """Refuse benchmarks that the folder of `--documents` should hold and does not: nobody meant the hub then."""
    given = source.given_documents
    if given is None or benchmarks.names is None:
        return
    rows = [benchmarks.known[name] for name in sorted(benchmarks.names)]
    for row in rows:
        needed = (row.added or not source.miniature) and not row.probe and not row.chat
        if needed and not given.holds(row) and not is_local(row):
            raise ConfigError(
                f"--documents {given.folder} has no folder {row.documents_folder}/ for {chosen_benchmarks.OPTION} "
                f"{row.name}. Allowed: one that has."
            )


def _positive(option: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise ConfigError(f"{option} is {value}; allowed: at least 1.")
    return value


def _device(wanted: str) -> str:
    if wanted == AUTO:
        if importlib.util.find_spec("accelerate") is None:
            raise ConfigError("--device auto needs the package accelerate. Install it: pip install accelerate")
        return wanted
    if wanted == "cpu":
        return wanted
    kind, _, number = wanted.partition(":")
    if kind not in DEVICES or not ((number.isascii() and number.isdigit()) or ":" not in wanted):
        raise ConfigError(
            f"--device {wanted!r} cannot be used: it is no kind of device. Allowed: {', '.join(DEVICES)}, a number "
            f"after a colon where there are several (cuda:1), {AUTO}."
        )
    import torch  # noqa: PLC0415 - the first thing here that needs it: it takes a second or two

    try:
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"--device {wanted!r} cannot be used: {str(error).splitlines()[0]}. Try --device cpu."
        ) from error
    return wanted
