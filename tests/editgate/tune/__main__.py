"""Searches hyperparameters for a model that nobody has tried, and writes them with their evidence.

    python -m editgate.tune DIR --editor=rome --edits=FILE --covariance-text=FILE

The edits are the last of the list, so that the gate, which takes the first, judges others. What was measured is in the
store: a search that was stopped goes on.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from editgate.errors import ConfigError
from editgate.measure.session import EvaluationSession
from editgate.options import unsuited
from editgate.options.options import Options, add_to
from editgate.options.profiles import EDITS
from editgate.options.programs import Parser
from editgate.options.settings import read
from editgate.tune.search import Tried, search
from editgate.tune.space import Space
from editgate.tune.trials import Score, Trials
from editors.core.hyperparameters import known_names
from editors.core.registry import built_in
from editors.models.architecture import Architecture

COUNT = 20
NOT_TAKEN = (
    "--model --edited --edit-counts --batch-size --edit-order --budget --min-budget --report --compare --limit "
    "--documents --thresholds --inconclusive --hyperparameters --items"
).split()


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, search, write the file and show what was tried."""
    parser = Parser(
        "editgate.tune",
        "Search hyperparameters of one method for one model.",
        not_taken=NOT_TAKEN,
    )
    parser.add_argument("model", help="a directory, a GGUF file, a hub id, or a shipped model")
    parser.add_argument("--count", type=int, default=COUNT, help="edits of the last round. Default: %(default)s")
    parser.add_argument("--output", type=Path, metavar="FILE", help="Default: hyperparameters/METHOD.toml")
    add_to(parser)
    given = parser.parse_args(arguments)
    with parser.ending_in_a_sentence():
        if not given.editor or len(given.editor) != 1:
            raise ConfigError("give one --editor, the method to tune, such as --editor=rome.")
        method = given.editor[0]
        space = Space.of(method)
        if given.count < 1:
            raise ConfigError(f"--count is {given.count}; allowed: at least 1.")
        output = given.output or Path("hyperparameters") / f"{method}.toml"
        options = Options.of_command_line(given).model_copy(update={"model": given.model, "edit_counts": "1"})
        trials, place = prepare(options, given.count, output)
        tried = tune(trials, space, given.count)
    Console(width=None if sys.stdout.isatty() else 100).print(table(tried))
    source = f"python -m editgate.tune, {given.count} single edits at the end of {Path(options.edits or EDITS).name}"
    given_by_hand = ", ".join(trials.spec.settings)
    source += f" ({given_by_hand} given, not searched)" if given_by_hand else ""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(render(place, tried[-1], source), encoding="utf-8")
    sys.stdout.write(f"written to {output}\n")


def prepare(options: Options, count: int, output: Path) -> tuple[Trials, str]:
    """Return the trials and the key that the model's hyperparameters go by.

    Raises:
        ConfigError: the model, the edits or an option is wrong; the list holds fewer than twice as many edits; the
            output is another model's.
    """
    settings = read(options, Path(".editgate"))
    session = EvaluationSession(settings, partial(print, file=sys.stderr))
    (source,) = (source for source in settings.models if source.name in settings.chosen_models)
    (spec,) = (spec for spec in settings.editors if spec.name in settings.chosen_editors)
    listed = settings.edits[source.name]
    if 2 * count > len(listed):
        raise ConfigError(
            f"--count is {count}, and {settings.edits_name} holds {len(listed)} edits, of which the first half is left "
            f"to the gate. Allowed: at most {len(listed) // 2}."
        )
    _check_output(output, source.keys[0])
    if refusal := unsuited.explain([spec], listed[-count:]):
        raise ConfigError(refusal)
    base, edits = session.model(source), listed[-count:]
    return Trials(spec, base, edits, settings.store, session.announce), source.keys[0]


def tune(trials: Trials, space: Space, count: int) -> list[Tried]:
    """Return everything that was tried, the winner last; what `--editor-arg` gave is not searched.

    Raises:
        EditorError: the method cannot be used on this model.
    """
    depth = Architecture(trials.base.model).depth
    record = built_in(trials.spec.name).Hyperparameters.model_fields
    space = space.fixing(known_names(tuple(record), trials.spec.name, trials.spec.settings))
    places = space.places(depth, one_layer="layer" in record)
    if "layers" in record:
        trials.supply({**space.usual(), "layers": sorted({block for place in places for block in place["layers"]})})
    return search(trials, space, places, count)


def table(tried: Sequence[Tried]) -> Table:
    """Return a row for each setting of each round, the best of a round last."""
    searched = [name for name in tried[0].settings if len({_text(row.settings[name]) for row in tried}) > 1]
    measured = [name for name, _ in _shares(tried[-1].score)]
    shown = Table(title="single edits; total is the harmonic mean", title_justify="left", box=None, pad_edge=False)
    for heading in ("round", *searched, "edits", *measured, "total"):
        shown.add_column(heading, justify="right")
    for row in sorted(tried, key=lambda row: (row.round, row.score.rank)):
        values = dict(_shares(row.score))
        numbers = [f"{values[name]:.2f}" if name in values else "" for name in measured]
        settings = [_text(row.settings[name]) for name in searched]
        shown.add_row(str(row.round), *settings, str(row.score.edits), *numbers, f"{row.score.total:.2f}")
    return shown


def render(place: str, winner: Tried, source: str) -> str:
    """Return a file of defaults for one model, in the form of `editors/defaults/`."""
    said = ", ".join(f"{name} {value:.2f}" for name, value in _shares(winner.score))
    lines = [f"[{_text(place)}]", f"source = {_text(f'{source}: {said}')}"]
    lines += [f"{name} = {_text(value)}" for name, value in winner.settings.items()]
    return "\n".join(lines) + "\n"


def _shares(score: Score) -> list[tuple[str, float]]:
    """What was measured, by what people call it."""
    named = {"efficacy": score.efficacy, "paraphrase": score.paraphrase, "locality": score.locality}
    return [(name, value) for name, value in (named | {"perplexity kept": score.kept}).items() if value is not None]


def _check_output(output: Path, place: str) -> None:
    """Another model's numbers are not overwritten.

    Raises:
        ConfigError: the file holds another model's.
    """
    if not output.exists():
        return
    try:
        others = sorted(set(tomllib.loads(output.read_text(encoding="utf-8"))) - {place})
    except (OSError, ValueError) as error:
        raise ConfigError(f"--output {str(output)!r} is there and is no such file ({error}). Give another.") from error
    if others:
        raise ConfigError(f"--output {str(output)!r} holds the numbers of {others[0]}. Give another file.")


def _text(value: object) -> str:
    """Return a value as TOML, which writes texts, numbers, truth values and lists as JSON does."""
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    main()
