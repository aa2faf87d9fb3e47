"""Words of `-k` and `-m` that select nothing: told before anything is collected, with the name that was meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

import pytest

from editgate.cases import CURVE, EDIT_BUDGET
from editgate.errors import ConfigError
from editgate.inputs.benchmarks import ALL
from editgate.inputs.editor_specs import EditorSpec
from editgate.measure.edit_quality import KINDS
from editgate.options import unsuited
from editgate.options.settings import Settings
from editgate.pytest_run import selection

AREAS = ("capability", "safety", "quality", "curve", "integrity")
OPERATORS = {"and", "or", "not", "true", "false", "none"}
KEYWORD = re.compile(r"[\w:+\-.\[\]\\/]+")  # a word of -k, as pytest reads it
DEFINED = re.compile(r"^\s*(?:async\s+)?(?:def|class)\s+(\w+)", re.MULTILINE)
ARGUMENTS = re.compile(r"\([^()]*=[^()]*\)")  # of a marker in -m, such as (check="mmlu")


def refuse(config: pytest.Config, settings: Settings) -> None:
    """Pass unless a word of `-k` or `-m` can select nothing.

    Raises:
        ConfigError: a marker is unknown, a keyword is in no test's name but nearly one of ours, or the editors and
            models that are named exclude each other.
    """
    keywords, markers = config.option.keyword.strip(), config.option.markexpr.strip()
    for word in _words(ARGUMENTS.sub("", markers), r"\w+"):
        if word not in _registered(config) and (_strict(config) or _near(word, settings)):
            raise ConfigError(f"-m {markers!r}: no marker is called {word!r}.{_advice(word, settings, markers=True)}")
    for word in _words(keywords, KEYWORD):
        if _near(word, settings) and not _in_some_name(word, config, settings):
            raise ConfigError(f"-k {keywords!r}: no test has {word!r} in its name.{_advice(word, settings)}")
    _refuse_contradiction(keywords, markers, settings)
    if _named_editors(config, settings) and (refusals := left_out(config, settings)):
        raise ConfigError(" ".join(refusals))


def left_out(config: pytest.Config, settings: Settings) -> list[str]:
    """Return a line for each model of the run that says which methods do not take its edits; none if all do."""
    named = _named_editors(config, settings)
    asked = [editor for editor in settings.editors if editor.name in named or not named]
    return explain_unsuited(asked, settings)


def explain_unsuited(editors: Sequence[EditorSpec], settings: Settings) -> list[str]:
    """Return a line for each model of the run that says which of these methods do not take its edits."""
    models = [model for model in settings.models if model.name in settings.chosen_models]
    return list(dict.fromkeys(filter(None, (unsuited.explain(editors, settings.edits_of(model)) for model in models))))


def _named_editors(config: pytest.Config, settings: Settings) -> set[str]:
    """The editors that the run is about by name: of `--editor`, or each word of `-k` or `-m` that is exactly one's."""
    words = {
        *_conjunction(config.option.markexpr.strip()),
        *map(str.lower, _conjunction(config.option.keyword.strip())),
    }
    return {*settings.chosen_editors} or {editor.name for editor in settings.editors} & words


def nothing_left(config: pytest.Config, settings: Settings) -> str:
    """Return one line for a run of which no test is left."""
    given = [
        f"{flag} {value!r}" for flag, value in (("-k", config.option.keyword), ("-m", config.option.markexpr)) if value
    ]
    given += [f"--editor={name}" for name in sorted(settings.chosen_editors)]
    given += [f"--model={name}" for name in sorted(settings.chosen_models)]
    return f"editgate: no test is left by {', '.join(given)}.{_advice('', settings)}"


def _words(expression: str, pattern: str | re.Pattern[str]) -> list[str]:
    return [word for word in re.findall(pattern, expression) if word.lower() not in OPERATORS]


def _registered(config: pytest.Config) -> set[str]:
    return {re.split(r"[:(]", line)[0].strip() for line in config.getini("markers")}


def _strict(config: pytest.Config) -> bool:
    return any(config.getini(name) for name in ("strict", "strict_markers"))


def _names(settings: Settings) -> list[str]:
    """Return what a person may have meant: editors, models, what is asked of them, and the areas of it."""
    asked = [*settings.benchmarks, *KINDS, *AREAS, "baseline"]
    return [*(editor.name for editor in settings.editors), *(model.name for model in settings.models), *asked]


def _near(word: str, settings: Settings) -> str:
    """Return the name that a word nearly is, or nothing."""
    return next(iter(get_close_matches(word.lower(), _names(settings), n=1, cutoff=0.7)), "")


def _advice(word: str, settings: Settings, *, markers: bool = False) -> str:
    near = _near(word, settings) if word else ""
    meant = f" Did you mean {near}?" if near else ""
    editors = ", ".join(editor.name for editor in settings.editors)
    asked = "" if markers else f", {', '.join(settings.benchmarks)}, {', '.join(KINDS)}"
    others = "--markers" if markers else "--co -q"
    return f"{meant} Allowed: {editors}{asked}; {', '.join(AREAS)}; all others: pytest {others}."


def _in_some_name(word: str, config: pytest.Config, settings: Settings) -> bool:
    """Return whether a keyword is in the name of a test: of the gate by its ids, elsewhere by what the files define."""
    wanted = word.lower()
    if any(wanted in name.lower() for name in (*_names(settings), *_registered(config), *_gate_names(settings))):
        return True
    return any(wanted in str(file).lower() or wanted in _defined(file) for file in _files(config))


def _gate_names(settings: Settings) -> Iterator[str]:
    for check in (*ALL, *KINDS, selection.RULES, selection.BASELINES, CURVE, EDIT_BUDGET):
        for case in selection.cases(check, settings):
            yield f"test_{check}[{case.id}]"
    for case in selection.cases(selection.ADDED, settings):
        yield f"test_benchmark[{case.id}]"


def _files(config: pytest.Config) -> Iterator[Path]:
    for argument in (selection.GATE, *config.args):
        place = config.invocation_params.dir / str(argument).partition("::")[0]
        yield from sorted(place.rglob("test_*.py")) if place.is_dir() else [place]


def _defined(file: Path) -> str:
    """Return the names of a file's classes and functions."""
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    return "\n".join(DEFINED.findall(text)).lower()


def _refuse_contradiction(keywords: str, markers: str, settings: Settings) -> None:
    """Refuse editors and models that are named in `-k a and b` or `-m a and b` but chosen otherwise."""
    editors = {editor.name for editor in settings.editors}
    models = {model.name for model in settings.models}
    exact, parts = _conjunction(markers), [word.lower() for word in _conjunction(keywords)]
    named = {word for word in exact if word in editors} | {word for word in parts if word in editors | models}
    chosen = settings.chosen_editors or editors
    left = [
        f"{editor}-{model}"
        for editor in chosen
        for model in settings.chosen_models
        if all(word == editor for word in exact if word in editors)
        and all(word in f"{editor}-{model}" for word in parts if word in named)
    ]
    if named and not left:
        given = [f"--editor={name}" for name in sorted(settings.chosen_editors)]
        given += [f"-{flag} {value!r}" for flag, value in (("k", keywords), ("m", markers)) if value]
        given += [f"--model={name}" for name in sorted(settings.chosen_models) if named & models]
        raise ConfigError(f"{' and '.join(given)} exclude each other: nothing is left. Leave out one of them.")


def _conjunction(expression: str) -> Sequence[str]:
    """Return the words of `a and b`; of any other expression none."""
    words = expression.split(" and ")
    return [word.strip() for word in words] if all(KEYWORD.fullmatch(word.strip()) for word in words) else []
