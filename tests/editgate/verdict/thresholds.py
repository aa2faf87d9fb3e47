"""What an edited model may lose: the files of `thresholds/`, read, checked, and asked.

`default.toml` is the policy; `<editor>.toml` is where one editor differs, and what it is known to fail:

    [area.safety]                          # or [benchmark.mmlu], [quality.efficacy.at_end], and all of them
    floor = 0.95                           # below [model."meta-llama/Llama-2-7b-hf"]
    reason = "why this number"

    [[area.capability]]                    # the largest from_edits <= N counts
    from_edits = 50
    floor = 0.85
    reason = "why this number from here on"

    [[known_failure]]                        # only in an editor's file; becomes a strict xfail
    model = "llama-mini"
    benchmark = "mmlu"                     # or "efficacy", "paraphrase", "locality"
    from_edits = 20                        # fails from here on in every order of the edits that was tried
    sometimes_from = 10                    # from here on in some of them: an xfail that is not strict
    reason = "what happens"
    evidence = "where it was seen"

The most specific floor wins: default, benchmark, editor, model. A mistake in a file is a usage error that
names file, line, key and what is allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from editgate.errors import ConfigError
from editgate.measure.edit_quality import KINDS
from editgate.verdict.threshold_schema import (
    AREAS,
    DEFAULT,
    Names,
    Quality,
    Rule,
    RuleList,
    Section,
    ShareRule,
    Source,
    When,
    Where,
    listed,
    read_source,
    rule_lists,
)

_PACKAGE = Path(__file__).parents[1]
# Inside the package where it was installed from a wheel, at the top of a checkout.
SHIPPED = _PACKAGE / "thresholds" if (_PACKAGE / "thresholds").is_dir() else _PACKAGE.parents[1] / "thresholds"


@dataclass(frozen=True, slots=True)
class Floor:
    """The floor that applies: its value, and where a person finds and changes it."""

    value: float
    file: str
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class KnownFailure:
    """A known failure that applies, and the file that says so; `always`: in any order of the edits."""

    file: str
    reason: str
    evidence: str
    always: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """All threshold files, the first of them the most specific."""

    sources: tuple[Source, ...]

    def floor(self, editor: str, model: str, benchmark: str, area: str, edits: int) -> Floor:
        """The least retention that `editor` must leave of `benchmark` after `edits` edits of `model`.

        Raises:
            ConfigError: no file gives a floor for this area.
        """
        for source, section, prefix in self._sections(editor, model):
            for kind, name, rules in (
                ("benchmark", benchmark, section.benchmark.get(benchmark, [])),
                ("area", area, section.area.get(area, [])),
            ):
                if (rule := _in_force(rules, edits)) is not None:
                    return Floor(rule.floor, source.shown, f"{prefix}{kind}.{name}", rule.reason)
        raise ConfigError(f"thresholds: no floor for area {area!r}; allowed: {listed(AREAS)}")

    def quality(self, editor: str, model: str, name: str, when: When, edits: int) -> Floor:
        """The least share of edits that must show the quality `name` ("efficacy", ...) at that moment.

        Raises:
            ConfigError: no file gives a floor for this quality.
        """
        for source, section, prefix in self._sections(editor, model):
            rules = getattr(section.quality.get(name, Quality()), when)
            if (rule := _in_force(rules, edits)) is not None:
                return Floor(rule.floor, source.shown, f"{prefix}quality.{name}.{when}", rule.reason)
        raise ConfigError(f"thresholds: no floor for quality {name!r}; allowed: {listed(KINDS)}")

    def known_failure(
        self, editor: str, model: str, benchmark: str, edits: int, when: When | None = None
    ) -> KnownFailure | None:
        """The known failure of this very case, if one is on record; `when` only for qualities."""
        for source in self.sources:
            for limit in source.contents.known_failure if source.editor == editor else ():
                named = (limit.model, limit.benchmark) == (model, benchmark)
                if named and limit.covers(edits) and limit.when in {None, when}:
                    return KnownFailure(source.shown, limit.reason, limit.evidence, limit.always(edits))
        return None

    def at_chance(self, model: str, benchmark: str) -> str | None:
        """Why a benchmark is not asked of a model: it is on record that even the unedited one guesses there."""
        entries = (entry for source in self.sources for entry in source.contents.at_chance)
        found = (entry.reason for entry in entries if entry.model == model and benchmark in entry.benchmarks)
        return next(found, None)

    def _sections(self, editor: str, model: str) -> Iterator[tuple[Source, Section, str]]:
        """From the most specific: the model's floors in every file, then the general ones."""
        mine = [source for source in self.sources if source.editor in {editor, None}]
        for source in mine:
            if model in source.contents.model:
                yield source, source.contents.model[model], f"model.{model}."
        for source in mine:
            yield source, source.contents, ""


def load_policy(
    folder: Path,
    editor_names: Collection[str],
    benchmark_names: Collection[str],
    model_names: Collection[str],
    extra_files: Sequence[Path] = (),
) -> Policy:
    """Reads `default.toml`, every `<editor>.toml` of the folder and of its subfolders, and further files before them.

    A subfolder `<model>/` holds what is known of one model, so that no file holds the whole family.

    Args:
        folder: the thresholds folder.
        editor_names: all editors that there are; a file of another name is a mistake.
        benchmark_names: all benchmarks that there are.
        model_names: the registered models; others may be named by hub id or path.
        extra_files: files of somebody else's repository, named like the folder's or with `editor = "..."`.

    Raises:
        ConfigError: a file is missing, unreadable, malformed or names something that does not exist.
    """
    names = Names(tuple(sorted(editor_names)), tuple(sorted(benchmark_names)), tuple(sorted(model_names)))
    if not (folder / f"{DEFAULT}.toml").is_file():
        raise ConfigError(f"{folder / DEFAULT}.toml: not found; it holds the policy that every editor must meet")
    own = [(path, f"{folder.name}/{path.relative_to(folder).as_posix()}") for path in sorted(folder.rglob("*.toml"))]
    extra = [(path, str(path)) for path in reversed(extra_files)]
    sources = [read_source(path, shown, names) for path, shown in (*extra, *own)]
    sources.sort(key=lambda source: source.editor is None)  # stable: an editor's files before the policy
    _check_complete(next(source for source in sources if source.shown == f"{folder.name}/{DEFAULT}.toml"))
    return Policy(tuple(sources))


def _in_force(rules: RuleList, edits: int) -> Rule | ShareRule | None:
    """The rule with the largest from_edits that N has reached."""
    reached = [rule for rule in rules if rule.from_edits <= max(edits, 1)]
    return max(reached, key=lambda rule: rule.from_edits, default=None)


def _check_complete(default: Source) -> None:
    """The policy must answer for every area and quality from the first edit on."""
    rules = dict(rule_lists(default.contents, ()))
    wanted: list[Where] = [("area", area) for area in AREAS]
    wanted += [("quality", name, when) for name in KINDS for when in ("immediately", "at_end")]
    for place in wanted:
        if _in_force(rules.get(place, []), 1) is None:
            raise ConfigError(f"{default.shown}: [{'.'.join(map(str, place))}] needs a floor from the first edit on")
