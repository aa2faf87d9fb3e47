"""Says before a run which drop each floor can see, with the items that there are.

    python -m editgate.power --model=llama-mini --limit=100

Only the unedited model is asked, and what it answers is what the gate takes for its baselines.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from editgate.errors import BaselineAtChance, ConfigError
from editgate.measure.session import EvaluationSession
from editgate.options.options import Options, add_to
from editgate.options.profiles import MODEL
from editgate.options.programs import Parser
from editgate.options.settings import Settings, read
from editgate.verdict import statistics
from editgate.verdict.power import Power, power_of

NOT_TAKEN = (
    "--editor-arg --hyperparameters --skip-bad-edits --edited --batch-size --edit-order --budget --min-budget "
    "--covariance-text --covariance-tokens --report --compare --inconclusive --items"
).split()
WIDTH = 110
MEANING = (
    "A verdict is a pass up to so many lost answers, a regression from so many on, and inconclusive between them. "
    "A true drop as large as under “passes” passes in four of five runs, one as large as under “fails” fails in four "
    "of five; in brackets, that drop in percent of the lead over guessing. Wrong answers that become right hide "
    "losses: both columns then move apart. More items move them together: --limit."
)


@dataclass(frozen=True)
class Row:
    """One benchmark, from the N on at which this floor counts."""

    benchmark: str
    from_edits: int
    items: int
    baseline: float
    chance: float
    floor: float
    power: Power


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, ask the unedited model, and show the table."""
    parser = Parser("editgate.power", "Say which drop each floor can see with these items.", not_taken=NOT_TAKEN)
    add_to(parser)
    given = parser.parse_args(arguments)
    with parser.ending_in_a_sentence():
        if len(given.editor or ()) > 1:
            raise ConfigError(f"--editor {given.editor[1]!r}: floors are those of one editor. Allowed: one, or none.")
        options = Options.of_command_line(given)
        chosen = read(options, Path(".editgate"), model_names=(MODEL,))
        shown = table(list(rows(EvaluationSession(chosen, lambda text: print(text, file=sys.stderr)))))
    console = Console(width=WIDTH, highlight=False, no_color=not sys.stdout.isatty())
    console.print(shown, "", MEANING, sep="\n")


def rows(session: EvaluationSession) -> Iterator[Row]:
    """Return a row for each benchmark of the run's models and each floor of it.

    Raises:
        BaselineAtChance: the unedited model guesses, so that no drop can be seen.
        EvaluationError: a benchmark cannot be asked.
    """
    chosen = session.settings
    for model in chosen.models:
        if model.name not in chosen.chosen_models:
            continue
        for name in chosen.benchmarks_of(model):
            found = session.baseline(model, name)
            if not statistics.above_chance([item.score for item in found.items], found.chance):
                raise BaselineAtChance(f"{name}: {model.name} scores {found.score:.3f}, chance is {found.chance:.3f}.")
            for count, floor in _floors(chosen, model.name, name).items():
                below = chosen.lower_alpha(model)
                seen = power_of(found.n, found.score, found.chance, floor, lower_alpha=below)
                yield Row(name, count, found.n, found.score, found.chance, floor, seen)


def _floors(chosen: Settings, model: str, benchmark: str) -> dict[int, float]:
    """The floor at the smallest N, and at each N at which it changes."""
    editor = next(iter(chosen.chosen_editors), "")
    area = chosen.benchmarks[benchmark].area
    by_count = {count: chosen.policy.floor(editor, model, benchmark, area, count).value for count in chosen.counts}
    before = None
    found = {}
    for count, floor in by_count.items():
        if floor != before:
            found[count] = floor
        before = floor
    return found


def table(found: Sequence[Row]) -> Table:
    """Return the table; the N from which a floor counts is shown where floors differ by N."""
    shown = Table(box=None, pad_edge=False)
    several = len({row.from_edits for row in found}) > 1
    shown.add_column("benchmark", no_wrap=True)
    for heading in (*(["from N"] * several), "items", "baseline", "chance", "floor", "allowed", "pass", "regression"):
        shown.add_column(heading, justify="right")
    for heading in ("passes", "fails"):
        shown.add_column(heading, justify="right")
    for row in found:
        power, lead = row.power, row.baseline - row.chance
        numbers = (f"{row.baseline:.3f}", f"{row.chance:.3f}", f"{row.floor:g}", f"{power.allowed:.3f}")
        lost = (
            "never" if power.most_lost is None else f"≤ {power.most_lost}",
            "never" if power.fewest_lost is None else f"≥ {power.fewest_lost}",
        )
        drops = ("–" if drop is None else f"{drop:.3f} ({drop / lead:.0%})" for drop in (power.passes, power.fails))
        start = [str(row.from_edits)] if several else []
        shown.add_row(row.benchmark, *start, str(row.items), *numbers, *lost, *drops)
    return shown


if __name__ == "__main__":
    main()
