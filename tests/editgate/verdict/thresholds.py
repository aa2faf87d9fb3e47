"""What an edited model may lose: the files of `thresholds/`, read, checked, and asked.

`default.toml` is the policy, `<editor>.toml` where one editor differs, `<model>/<editor>.toml` where it differs on one
model, and what it is known to fail there:

    [area.safety]                          # or [benchmark.mmlu], [quality.efficacy.at_end], and all of them
    floor = 0.95                           # below [model."meta-llama/Llama-2-7b-hf"]
    reason = "why this number"

    [[area.capability]]                    # the largest from_edits <= N counts
    from_edits = 50
    floor = 0.85
    reason = "why this number from here on"

    [known_failures]                       # only in an editor's file, written by `python -m editgate.known_failures`
    model = "llama-mini"                   # only where no folder says it
    reason = "what happens"
    batch_size = 10                        # edits applied at once, if not 1; a record holds for this size alone
    measured_at = [1, 10, 50]
    orders = 3                             # of the edits
    edit_budget = [10, 1, 10]              # by order
    [known_failures.fails]                 # N = [lowest, highest retention or share, orders that failed]
    mmlu = { 10 = [0.88, 0.94, 1], 50 = [0.41, 0.63, 3] }

    [multiplicity]                         # only in default.toml
    correction = "none"                    # or "bonferroni"
    reason = "why"

A known failure is an expected failure (xfail) from the first N on at which some order failed, and above the measured N
before it. It is a strict one at a measured N that every order failed, if all failed at each larger N too.

The most specific floor wins: default, benchmark, editor, model. A mistake in a file is a usage error that names file,
key, value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from editgate.errors import ConfigError
from editgate.inputs.probes import PROBES
from editgate.measure.edit_quality import KINDS
from editgate.verdict.threshold_files import ThresholdFile, read_file
from editgate.verdict.threshold_schema import AREAS, DEFAULT, Names, Quality, Rule, Section, ShareRule, When, listed
from editors.core.registry import EXTRAS

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
    """A known failure that applies.

    Attributes:
        file: where it is on record.
        reason: why it fails.
        always: whether every order of the edits that was tried failed at exactly this N, and at all larger ones.
    """

    file: str
    reason: str
    always: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """All threshold files, the first of them the most specific."""

    files: tuple[ThresholdFile, ...]

    def floor(self, editor: str, model: str, benchmark: str, area: str, edits: int) -> Floor:
        """The least retention that `editor` must leave of `benchmark` after `edits` edits of `model`.

        Raises:
            ConfigError: no file gives a floor for this area.
        """
        for file, section, prefix in self._sections(editor, model):
            for kind, name, rules in (
                ("benchmark", benchmark, section.benchmark.get(benchmark, [])),
                ("area", area, section.area.get(area, [])),
            ):
                if (rule := _in_force(rules, edits)) is not None:
                    return Floor(rule.floor, file.shown, f"{prefix}{kind}.{name}", rule.reason)
        raise ConfigError(f"thresholds: no floor for area {area!r}; allowed: {listed(AREAS)}")

    def quality(self, editor: str, model: str, name: str, when: When, edits: int) -> Floor:
        """The least share of edits that must show the quality `name` ("efficacy", ...) at that moment.

        Raises:
            ConfigError: no file gives a floor for this quality.
        """
        for file, section, prefix in self._sections(editor, model):
            rules = getattr(section.quality.get(name, Quality()), when)
            if (rule := _in_force(rules, edits)) is not None:
                return Floor(rule.floor, file.shown, f"{prefix}quality.{name}.{when}", rule.reason)
        raise ConfigError(f"thresholds: no floor for quality {name!r}; allowed: {listed(KINDS)}")

    def known_failure(
        self, editor: str, model: str, check: str, edits: int, batch_size: int = 1
    ) -> KnownFailure | None:
        """The known failure of a benchmark or quality after this many edits in batches of a size, if one is on record.

        What fails in batches of one size says nothing of another.
        """
        for file in self.files:
            for known in file.contents.known_failures if file.editor == editor else ():
                if (known.model, known.batch_size) == (model, batch_size) and known.covers(check, edits):
                    return KnownFailure(file.shown, known.reason or "", known.always(check, edits))
        return None

    def lower_alpha(self, cells: int, alpha: float = 0.05) -> float:
        """The error probability of each lower bound, where a gate has so many verdicts on benchmarks."""
        tables = (file.contents.multiplicity for file in self.files)
        found = next((table for table in tables if table is not None), None)
        return alpha / cells if found is not None and found.correction == "bonferroni" else alpha

    def at_chance(self, model: str, benchmark: str) -> str | None:
        """Why a benchmark is not asked of a model: it is on record that even the unedited one guesses there."""
        entries = (entry for file in self.files for entry in file.contents.at_chance)
        found = (entry.reason for entry in entries if entry.model == model and benchmark in entry.benchmarks)
        return next(found, None)

    def _sections(self, editor: str, model: str) -> Iterator[tuple[ThresholdFile, Section, str]]:
        """From the most specific: the model's floors in every file, then the general ones."""
        mine = [file for file in self.files if file.editor in {editor, None}]
        for file in mine:
            if file.model == model:
                yield file, file.contents, ""
            elif model in file.contents.model:
                yield file, file.contents.model[model], f"model.{model}."
        yield from ((file, file.contents, "") for file in mine if file.model is None)


def load_policy(
    folder: Path,
    editor_names: Collection[str],
    benchmark_names: Collection[str],
    model_names: Collection[str],
    extra_files: Sequence[Path] = (),
) -> Policy:
    """Reads `default.toml`, the files of editors, those in the folders of models, and further files before them all.

    Args:
        folder: the thresholds folder.
        editor_names: all editors that there are; a file of another name is a mistake, unless it is that of a method
            whose package is not installed.
        benchmark_names: all benchmarks that there are, besides the probes.
        model_names: the registered models; others may be named by hub id or path.
        extra_files: files of somebody else's repository, named like the folder's or with `editor = "..."`.

    Raises:
        ConfigError: a file is missing, unreadable, malformed or names something that does not exist.
    """
    names = Names(
        tuple(sorted({*editor_names, *EXTRAS})), tuple(sorted({*benchmark_names, *PROBES})), tuple(sorted(model_names))
    )
    policy = folder / f"{DEFAULT}.toml"
    if not policy.is_file():
        raise ConfigError(f"{policy}: not found; it holds the policy that every editor must meet")
    files = [read_file(path, str(path), names) for path in reversed(extra_files)]
    for path in sorted(folder.rglob("*.toml")):
        inside = path.relative_to(folder)
        of_model = inside.parent.as_posix() if inside.parent.parts else ""
        files.append(read_file(path, f"{folder.name}/{inside.as_posix()}", names, of_model))
        if path == policy:
            _check_complete(files[-1])
    files.sort(key=lambda file: file.editor is None)  # stable: an editor's files before the policy
    return Policy(tuple(files))


def _in_force(rules: Sequence[Rule] | Sequence[ShareRule], edits: int) -> Rule | ShareRule | None:
    """The rule with the largest from_edits that N has reached."""
    reached = [rule for rule in rules if rule.from_edits <= max(edits, 1)]
    return max(reached, key=lambda rule: rule.from_edits, default=None)


def _check_complete(default: ThresholdFile) -> None:
    """The policy must answer for every area and quality from the first edit on."""
    contents = default.contents
    rules: dict[str, Sequence[Rule] | Sequence[ShareRule]] = {
        f"area.{area}": contents.area.get(area, []) for area in AREAS
    }
    for name in KINDS:
        quality = contents.quality.get(name, Quality())
        rules |= {f"quality.{name}.immediately": quality.immediately, f"quality.{name}.at_end": quality.at_end}
    for key, found in rules.items():
        if _in_force(found, 1) is None:
            raise ConfigError(f"{default.shown}: [{key}] needs a floor from the first edit on")
