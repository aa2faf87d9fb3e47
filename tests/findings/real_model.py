"""Measures what is left of a model that somebody else trained, along several orders of the edits.

    python -m findings.real_model FILE.gguf --editor=rome --editor=memit --edits=FILE --json=curves.json   # in tests/

All methods are measured in the first order before the second begins, and the file is written after each trajectory, so
that a run that is stopped leaves what it has. It goes on from the store. `findings.real_model_page` shows the file.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from editgate.errors import ConfigError
from editgate.inputs.models import ModelSource
from editgate.measure.edit_quality import KINDS, share
from editgate.measure.model_under_test import Run
from editgate.measure.session import EvaluationSession
from editgate.options.options import Options, add_to
from editgate.options.programs import Parser
from editgate.options.settings import read
from findings.sweeps import ORDERS, above_chance, retention

NOT_TAKEN = (
    "--model --edited --edit-order --batch-size --budget --min-budget --report --compare --items --inconclusive"
).split()


class Asked(BaseModel):
    """A benchmark, as the unedited model answers it.

    Attributes:
        above_chance: whether it certainly knows more than guessing gives; if not, the benchmark is not asked again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: float
    chance: float
    items: int
    above_chance: bool


class Curve(BaseModel):
    """One method in one order of the edits; every list has a value for each N.

    Attributes:
        retention: by benchmark, never less than 0.
        right_after: efficacy, paraphrase and locality, each edit asked right after it.
        at_the_end: the same of all edits, asked after the last.
        norm_ratio: of the written matrix that grew most, norm after over norm before; 1 where none is written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    editor: str
    order: int
    retention: dict[str, list[float]]
    right_after: dict[str, list[float | None]]
    at_the_end: dict[str, list[float | None]]
    norm_ratio: list[float]


class Measured(BaseModel):
    """Everything that one run measured.

    Attributes:
        command: what repeats it.
        counts: the Ns, ascending.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str
    model: str
    edits: str
    counts: tuple[int, ...]
    benchmarks: dict[str, Asked]
    curves: list[Curve]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, and write the file after each trajectory."""
    parser = Parser("findings.real_model", "Measure retention curves over several orders.", not_taken=NOT_TAKEN)
    parser.add_argument("model", help="a directory, a GGUF file, or a hub id")
    parser.add_argument("--orders", type=int, default=ORDERS, help="of the edits; 0: no edits. Default: %(default)s")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the numbers go")
    add_to(parser)
    given = parser.parse_args(arguments)
    with parser.ending_in_a_sentence():
        if given.orders < 0 or (given.orders and not given.editor):
            raise ConfigError(f"--orders is {given.orders}; allowed: 0, or more with at least one --editor.")
        options = Options.of_command_line(given)
        settings = read(options.model_copy(update={"model": given.model}), Path(".editgate"))
        session = EvaluationSession(settings, lambda text: print(text, file=sys.stderr))
        words = [Path(given.model).name, *options.model_copy(update={"model": None}).repeated()]
        command = " ".join(["python -m findings.real_model", *words, f"--orders={given.orders}"])
        measure(session, command, given.orders, given.json)


def measure(session: EvaluationSession, command: str, orders: int, file: Path) -> Measured:
    """Measure every chosen method in every order, and keep what there is in the file.

    Raises:
        EditorError: a method cannot apply an edit.
        IntegrityError: a rule is broken that makes a method's numbers meaningless.
        EvaluationError: a benchmark cannot be scored.
    """
    settings = session.settings
    (source,) = (model for model in settings.models if model.name in settings.chosen_models)
    editors = [spec for spec in settings.editors if spec.name in settings.chosen_editors]
    asked = {name: _asked(session, source, name) for name in settings.benchmarks_of(source)}
    found = Measured(
        command=command,
        model=source.name,
        edits=settings.edits_name,
        counts=settings.counts,
        benchmarks=asked,
        curves=[],
    )
    file.write_text(found.model_dump_json(indent=1), encoding="utf-8")
    above = [name for name, each in asked.items() if each.above_chance]
    for order in range(orders):
        for editor in editors:
            run = session.trajectory(editor, source, order=order)
            if order == 0:
                session.check_all(run)
            found.curves.append(_curve(session, run, order, above))
            file.write_text(found.model_dump_json(indent=1), encoding="utf-8")
    return found


def _asked(session: EvaluationSession, source: ModelSource, name: str) -> Asked:
    found = session.baseline(source, name)
    above = above_chance(session, source, name)
    return Asked(score=found.score, chance=found.chance, items=found.n, above_chance=above)


def _curve(session: EvaluationSession, run: Run, order: int, benchmarks: Sequence[str]) -> Curve:
    counts = session.settings.counts
    return Curve(
        editor=run.spec.name,
        order=order,
        retention={name: [retention(session, run, count, name) for count in counts] for name in benchmarks},
        right_after={kind: [share(kind, run.immediate(count)) for count in counts] for kind in KINDS},
        at_the_end={kind: [share(kind, run.final(count)) for count in counts] for kind in KINDS},
        norm_ratio=[max(session.norm_ratio(run, count).values(), default=1.0) for count in counts],
    )


if __name__ == "__main__":
    main()
