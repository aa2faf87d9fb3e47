"""One file of `thresholds/`: its schema, and mistakes told with file, line, key and what is allowed."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from editgate.errors import ConfigError
from editgate.measure.edit_quality import KINDS
from editgate.verdict.toml_lines import line_of

AREAS = ("capability", "safety")
DEFAULT = "default"
SHOWN = 2  # problems per run; the rest is counted

When: TypeAlias = Literal["immediately", "at_end"]
Text: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Count: TypeAlias = Annotated[int, Field(ge=1, strict=True)]
Where: TypeAlias = tuple[str | int, ...]


class Strict(BaseModel):
    """Nothing unknown, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Rule(Strict):
    """A retention floor from some N on; below 1, because no number of items confirms "no loss at all"."""

    floor: Annotated[float, Field(ge=0, lt=1)]
    reason: Text
    from_edits: Count = 1


class ShareRule(Strict):
    """A floor for a share of edits, from some N on."""

    floor: Annotated[float, Field(ge=0, le=1)]
    reason: Text
    from_edits: Count = 1


def _as_list(value: object) -> object:
    return [value] if isinstance(value, dict) else value


Rules: TypeAlias = Annotated[list[Rule], BeforeValidator(_as_list)]
ShareRules: TypeAlias = Annotated[list[ShareRule], BeforeValidator(_as_list)]
RuleList: TypeAlias = Sequence[Rule] | Sequence[ShareRule]


class Quality(Strict):
    """Floors of one quality, right after each edit and for all edits at the end."""

    immediately: ShareRules = []
    at_end: ShareRules = []


class Section(Strict):
    """Floors of one scope: a whole file, or one model in it."""

    area: dict[str, Rules] = {}
    benchmark: dict[str, Rules] = {}
    quality: dict[str, Quality] = {}


class Limit(Strict):
    """A failure that is known, with its evidence.

    From `from_edits` on it fails whatever the order of the edits; from `sometimes_from` on it depends on the order.
    """

    model: Text
    benchmark: Text
    from_edits: Count | None = None
    sometimes_from: Count | None = None
    until: Count | None = None
    when: When | None = None
    reason: Text
    evidence: Text

    def covers(self, edits: int) -> bool:
        """True if the limit speaks about this many edits."""
        return self.begins <= edits <= (self.until or edits)

    @property
    def begins(self) -> int:
        """The least number of edits that the limit speaks about."""
        return self.sometimes_from or self.from_edits or 1

    def always(self, edits: int) -> bool:
        """True if this many edits fail in any order."""
        return self.from_edits is not None and edits >= self.from_edits


class AtChance(Strict):
    """Benchmarks that a model is known to guess at: an edit can cost it nothing there, so they are not asked."""

    model: Text
    benchmarks: Annotated[list[Text], Field(min_length=1)]
    reason: Text


class Contents(Section):
    """One whole file. `editor` names the editor where the file's own name cannot."""

    editor: Text | None = None
    model: dict[str, Section] = {}
    known_failure: list[Limit] = []
    at_chance: list[AtChance] = []


@dataclass(frozen=True, slots=True)
class Source:
    """One file that was read: its name for people, whose it is (None: the policy), what it says."""

    shown: str
    editor: str | None
    contents: Contents


@dataclass(frozen=True, slots=True)
class Names:
    """What files may speak about."""

    editors: tuple[str, ...]
    benchmarks: tuple[str, ...]
    models: tuple[str, ...]


def read_source(path: Path, shown: str, names: Names) -> Source:
    """Reads and checks one file; `shown` is its name for people.

    Raises:
        ConfigError: it cannot be read, is malformed, or names something that does not exist.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"{shown}: cannot be read ({reason})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{shown}: not valid TOML: {error}") from error
    try:
        contents = Contents.model_validate(data)
    except ValidationError as error:
        raise _usage(shown, text, [(e["loc"], _explain(e)) for e in error.errors()]) from error
    editor = contents.editor or (None if path.stem == DEFAULT else path.stem)
    problems = list(_check(contents, editor, names))
    if problems:
        raise _usage(shown, text, problems)
    return Source(shown, editor, contents)


def _usage(shown: str, text: str, problems: Sequence[tuple[Where, str]]) -> ConfigError:
    lines = [f"{shown}, line {line_of(text, where)}: {_dotted(where)}{message}" for where, message in problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f"{shown}: and {len(problems) - SHOWN} more")
    return ConfigError("\n".join(lines))


def _dotted(where: Where) -> str:
    return ".".join(str(step) for step in where if not isinstance(step, int)) + ": " if where else ""


def _explain(error: Any) -> str:  # noqa: ANN401 -- pydantic's ErrorDetails, a plain dict
    """Pydantic's sentence, or a better one where it would not say what is allowed."""
    where, value = error["loc"], error.get("input")
    if error["type"] == "extra_forbidden":
        return f"unknown key; allowed: {listed(_keys_at(where[:-1]))}"
    if error["type"] == "missing" and where[-1] in {"reason", "evidence"}:
        return f"missing; every number needs its {where[-1]}"
    if error["type"] == "missing":
        return "missing"
    message = error["msg"].removeprefix("Input should be ").removeprefix("String should have ")
    return f"{value!r} is not allowed; it should be {message}" if not isinstance(value, dict) else message


def _keys_at(where: Where) -> list[str]:
    """The keys that a table at this place may have."""
    steps = [step for step in where if not isinstance(step, int)]
    if steps[:1] == ["model"]:
        steps = steps[2:] or ["", ""]
    if steps[:1] == ["known_limit"]:
        return list(Limit.model_fields)
    depth = {"area": 2, "benchmark": 2, "quality": 3}.get(steps[0] if steps else "", 0)
    if steps == ["", ""]:
        return list(Section.model_fields)
    if len(steps) >= depth > 0:
        return list(Rule.model_fields)
    return list(Quality.model_fields if steps[:1] == ["quality"] else Contents.model_fields)


def _check(contents: Contents, editor: str | None, names: Names) -> Iterator[tuple[Where, str]]:
    """What the types cannot see: names that do not exist, and entries that contradict each other."""
    if editor is not None and editor not in names.editors:
        yield (), f"no editor is called {editor!r}; allowed: {listed((DEFAULT, *names.editors))}"
    yield from _check_section(contents, (), names)
    for model, section in contents.model.items():
        yield from _check_model(model, ("model", model), names)
        yield from _check_section(section, ("model", model), names)
    for i, guessed in enumerate(contents.at_chance):
        yield from _check_at_chance(guessed, editor, ("at_chance", i), names)
    if editor is None and contents.known_failure:
        yield ("known_limit", 0), "the policy has no known limits; they belong into the editor's own file"
    for i, limit in enumerate(contents.known_failure):
        yield from _check_limit(limit, ("known_limit", i), names)
        yield from _check_overlap(contents.known_failure[:i], limit, ("known_limit", i))


def _check_section(section: Section, where: Where, names: Names) -> Iterator[tuple[Where, str]]:
    for kind, found, allowed in (
        ("area", section.area, AREAS),
        ("benchmark", section.benchmark, names.benchmarks),
        ("quality", section.quality, KINDS),
    ):
        for name in found:
            if name not in allowed:
                yield (*where, kind, name), f"no {kind} is called {name!r}; allowed: {listed(allowed)}"
    for place, rules in rule_lists(section, where):
        starts = [rule.from_edits for rule in rules]
        if len(set(starts)) < len(starts):
            yield place, f"two floors start at the same from_edits ({sorted(starts)})"


def rule_lists(section: Section, where: Where) -> Iterator[tuple[Where, RuleList]]:
    """Every list of floors in a section, with its place in the file."""
    for kind in ("area", "benchmark"):
        for name, rules in getattr(section, kind).items():
            yield (*where, kind, name), rules
    for name, quality in section.quality.items():
        yield (*where, "quality", name, "immediately"), quality.immediately
        yield (*where, "quality", name, "at_end"), quality.at_end


def _check_at_chance(guessed: AtChance, editor: str | None, where: Where, names: Names) -> Iterator[tuple[Where, str]]:
    """It is about the unedited model, so it belongs into the policy."""
    if editor is not None:
        yield where, f"what an unedited model guesses at stands in {DEFAULT}.toml, not in an editor's file"
    yield from _check_model(guessed.model, (*where, "model"), names)
    for name in guessed.benchmarks:
        if name not in names.benchmarks:
            yield (*where, "benchmarks"), f"no benchmark is called {name!r}; allowed: {listed(names.benchmarks)}"


def _check_model(model: str, where: Where, names: Names) -> Iterator[tuple[Where, str]]:
    """A registered name, a hub id (owner/name) or a path."""
    if model not in names.models and ("/" not in model or any(sign.isspace() for sign in model)):
        allowed = listed(names.models)
        yield where, f"no model is called {model!r}; allowed: {allowed}, a hub id (owner/name) or a path"


def _check_limit(limit: Limit, where: Where, names: Names) -> Iterator[tuple[Where, str]]:
    yield from _check_model(limit.model, (*where, "model"), names)
    allowed = (*names.benchmarks, *KINDS)
    if limit.benchmark not in allowed:
        message = f"no benchmark or quality is called {limit.benchmark!r}; allowed: {listed(allowed)}"
        yield (*where, "benchmark"), message
    if limit.from_edits is None and limit.sometimes_from is None:
        yield where, "needs from_edits (fails in any order of the edits), sometimes_from (in some orders), or both"
    if limit.until is not None and limit.until < limit.begins:
        yield (*where, "until"), f"{limit.until} is below from_edits ({limit.begins})"
    if limit.from_edits and limit.sometimes_from and limit.sometimes_from >= limit.from_edits:
        yield (*where, "sometimes_from"), f"{limit.sometimes_from} must be below from_edits ({limit.from_edits})"
    if limit.when is not None and limit.benchmark not in KINDS:
        yield (*where, "when"), f"only qualities have a moment; allowed with it: {listed(KINDS)}"


def _check_overlap(earlier: Sequence[Limit], limit: Limit, where: Where) -> Iterator[tuple[Where, str]]:
    for other in earlier:
        same = (other.model, other.benchmark) == (limit.model, limit.benchmark)
        moment = None in {other.when, limit.when} or other.when == limit.when
        if same and moment and (other.covers(limit.begins) or limit.covers(other.begins)):
            yield (
                where,
                f"{limit.benchmark} on {limit.model} is already limited from {other.begins} edits on",
            )


def listed(names: Collection[str]) -> str:
    """Names for a message."""
    return ", ".join(names)
