"""Which benchmarks a run asks: those of `--benchmarks`, each one of the table, any task of lm-eval, or a probe."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError

from editgate.cases import CURVE, EDIT_BUDGET
from editgate.errors import ConfigError
from editgate.inputs import probes
from editgate.inputs.benchmarks import ALL, Area, Benchmark
from editgate.inputs.files.user_files import read_toml
from editgate.inputs.files.validation import sentence
from editgate.inputs.harness import judging, leaves
from editgate.inputs.harness.index import is_registered
from editgate.inputs.harness.judging import Given
from editgate.inputs.probes import PROBES
from editgate.measure.edit_quality import KINDS
from editgate.verdict.threshold_schema import AddedBenchmark

OPTION = "--benchmarks"
THE_TABLE = "default"  # stands for all that are asked without the option
NAME = re.compile(r"[\w.()+:-]+")
TAKEN = frozenset({*KINDS, *PROBES, CURVE, EDIT_BUDGET, "rules", "baselines"})  # what else a test may be about


@dataclass(frozen=True, slots=True)
class ChosenBenchmarks:
    """The benchmarks of one run.

    Attributes:
        known: all that there are: the table, and what was added to it.
        names: those that were chosen; None: those of the table.
    """

    known: Mapping[str, Benchmark]
    names: frozenset[str] | None = None


def read(given: str | None, policies: Sequence[Path]) -> ChosenBenchmarks:
    """Return what `--benchmarks` names.

    Args:
        given: names, groups, probes, or paths of YAML files, separated by commas; None where the option is not given.
        policies: files with tables `[benchmarks.NAME]`; the last that has one of a benchmark counts.

    Raises:
        ConfigError: a name is unknown (with near ones), or its task cannot be asked or judged here.
    """
    if given is None:
        return ChosenBenchmarks(ALL)
    by_task = {row.task: name for name, row in ALL.items()}
    tables = _tables(policies)
    known, names = dict(ALL), list[str]()
    for wanted in (part.strip() for part in given.split(",")):
        option = f"{OPTION} {wanted}"
        if wanted == THE_TABLE:
            names += ALL
        elif wanted in ALL or wanted in by_task:
            names.append(wanted if wanted in ALL else by_task[wanted])
        elif probes.is_probe(wanted):
            name = wanted.partition(":")[0]
            if name in known:
                raise ConfigError(f"{option}: {name} is named twice. Allowed: each probe once.")
            known[name] = probes.find(wanted, _area_of_probe(name, tables), option)
            names.append(name)
        elif not wanted:
            raise ConfigError(f"{OPTION} {given!r}: there is nothing before or after a comma. Allowed: NAME,NAME,…")
        else:
            _check_near(wanted, option)
            name, found = leaves.find(wanted, option)
            _check_name(name, known, option)
            known[name] = judging.added(name, found, tables.get(name, Given()), option)
            names.append(name)
    return ChosenBenchmarks(known, frozenset(names))


def _area_of_probe(name: str, tables: Mapping[str, Given]) -> Area:
    """What a failure of a probe means; nothing else of it can be said otherwise."""
    given = tables.get(name, Given())
    if given != Given(area=given.area):
        raise ConfigError(f"benchmarks.{name}: {name} is no task of lm-eval. Allowed beside the reason: area.")
    return given.area


def _check_near(wanted: str, option: str) -> None:
    """Refuse what is nearly one of the table and nothing of lm-eval."""
    near = get_close_matches(wanted.lower(), (*ALL, THE_TABLE), n=1, cutoff=0.8)
    if near and not wanted.endswith(leaves.YAML) and not is_registered(wanted):
        raise ConfigError(f"{option}: there is no such benchmark, and no such task of lm-eval. Did you mean {near[0]}?")


def _check_name(name: str, known: Mapping[str, Benchmark], option: str) -> None:
    if name in known and known[name].added:
        raise ConfigError(f"{option}: {name} is named twice. Allowed: each benchmark once.")
    if name in known or name in TAKEN:
        raise ConfigError(
            f"{option}: its task is called {name!r}, as something else of this suite is. Rename the task."
        )
    if not NAME.fullmatch(name):
        raise ConfigError(f"{option}: its task is called {name!r}. Allowed are letters, digits and _ . - + : ( ).")


def _tables(policies: Sequence[Path]) -> dict[str, Given]:
    found: dict[str, Given] = {}
    for path in policies:
        tables = read_toml(path).get("benchmarks", {})
        for name, table in tables.items() if isinstance(tables, dict) else ():
            if name in ALL:
                raise ConfigError(
                    f"{path}: benchmarks.{name}: this suite says how {name} is judged. Allowed: a floor, as "
                    f"[benchmark.{name}]."
                )
            try:
                found[name] = Given(**AddedBenchmark.model_validate(table).model_dump(exclude={"reason"}))
            except ValidationError as error:
                raise ConfigError(f"{path}: benchmarks.{name}: {sentence(error)}.") from error
    return found
