"""Measures what a method fails and writes it down, so that a gate is red for news alone.

    python -m editgate.known_failures memit
    python -m editgate.known_failures my_pkg.my_module:MyEditor --output=known_failures.toml

The same edits are applied in several orders, each a trajectory of its own: what every order fails becomes a strict
expected failure (xfail), what some fail one that is not strict. The reason is a person's to write, into the file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from editgate.cases import Case
from editgate.errors import ConfigError
from editgate.inputs import models
from editgate.inputs.benchmarks import ALL
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import ModelSource
from editgate.measure.edit_quality import KINDS
from editgate.measure.session import EvaluationSession
from editgate.options import profiles, settings
from editgate.options.settings import Settings
from editgate.verdict.cell import evaluate_cell
from editgate.verdict.outcome import Cell, Outcome
from editgate.verdict.threshold_files import read_file
from editgate.verdict.threshold_schema import KnownFailures, Measurement, Names
from editgate.verdict.thresholds import SHIPPED

ORDERS = 3
UNEXPLAINED = "not yet explained"
OWN_FILE = Path("known_failures.toml")
INSTALLED = SHIPPED.is_relative_to(Path(__file__).parent)  # and not a checkout
MEANING = "N = [lowest, highest retention or share (one number if equal), orders that failed]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, write the file and show it."""
    parser = argparse.ArgumentParser(
        prog="python -m editgate.known_failures",
        description="Measure what an editing method fails on a model, over several orders of the edits.",
    )
    parser.add_argument("method", help="a built-in method, a registered one, or package.module:Class")
    parser.add_argument("--model", default=profiles.MODEL, help="NAME, DIR or HUB_ID (default: %(default)s)")
    parser.add_argument("--profile", choices=profiles.PROFILES, default="default", help="whose N and number of items")
    parser.add_argument(
        "--orders", type=int, default=ORDERS, help="how many orders of the edits (default: %(default)s)"
    )
    parser.add_argument("--reason", help="why it fails; otherwise the reason that is in the file stays")
    parser.add_argument("--thresholds", type=Path, action="append", default=[], help="a file with floors of your own")
    parser.add_argument("--store", type=Path, default=Path(".editgate"), help="for checkpoints (default: %(default)s)")
    parser.add_argument("--output", type=Path, help=f"default: thresholds/MODEL/METHOD.toml, or {OWN_FILE}")
    given = parser.parse_args(arguments)
    try:
        if given.orders < 1:
            raise ConfigError(f"--orders is {given.orders}; allowed: at least 1.")
        chosen = _settings(given)
        editor = next(spec for spec in chosen.editors if spec.name in chosen.chosen_editors)
        model = next(source for source in chosen.models if source.name in chosen.chosen_models)
        shipped = SHIPPED / model.name / f"{editor.name}.toml"
        output = given.output or (shipped if _is_ours(editor, model) else OWN_FILE)
        in_place = output.resolve() == shipped.resolve()
        _check_output(output)
        on_record = _reason_on_record(output, chosen, editor, model, model.name if in_place else "")
    except ConfigError as error:
        parser.error(str(error))
    cells = measure(EvaluationSession(chosen, lambda text: print(text, file=sys.stderr)), editor, model, given.orders)
    record = summarize(model.name, cells, given.reason or on_record or UNEXPLAINED)
    named = {} if in_place else {"editor": editor.name, "model": _name_in_file(model)}
    text = render(record, _command(given), **named)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{text}\nwritten to {output}\n")


def measure(session: EvaluationSession, editor: EditorSpec, model: ModelSource, orders: int) -> list[list[Cell]]:
    """Return the cells of every benchmark and quality at every N, one list an order of the edits.

    Raises:
        EvaluationError: there is no verdict.
        EditorError: the method cannot apply an edit.
    """
    found = []
    for order in range(orders):
        session.announce(f"{editor.name} on {model.name}: order {order}, {order + 1} of {orders}")
        cases = [
            Case(editor, model, check, edits)
            for edits in session.settings.counts
            for check in (*session.settings.asked_of(model), *KINDS)
        ]
        cells = [evaluate_cell(session, case, order=order) for case in cases]
        found.append([cell for cell in cells if cell.outcome is not Outcome.SKIPPED])
    return found


def summarize(model: str, orders: Sequence[Sequence[Cell]], reason: str) -> KnownFailures:
    """Return what is known after these orders: of what failed, the values from the first N on that some order failed."""
    counts = sorted({cell.edits for cells in orders for cell in cells})
    table: dict[str, dict[int, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cell in sorted((cell for cells in orders for cell in cells), key=lambda cell: (cell.check, cell.edits)):
        table[cell.check][cell.edits].append(cell)
    fails = {}
    for check, by_count in table.items():
        failed = [edits for edits, cells in by_count.items() if any(cell.fails for cell in cells)]
        if failed:
            fails[check] = {edits: _measurement(cells) for edits, cells in by_count.items() if edits >= failed[0]}
    ends = [min((cell.edits for cell in cells if cell.fails), default=counts[-1] + 1) for cells in orders]
    return KnownFailures(
        model=model,
        reason=reason if fails else None,
        measured_at=counts,
        orders=len(orders),
        edit_budget=[max((edits for edits in counts if edits < end), default=0) for end in ends],
        fails=fails,
    )


def _measurement(cells: Sequence[Cell]) -> Measurement:
    values = [round(cell.value, 2) + 0.0 for cell in cells if cell.value is not None]  # + 0.0: no negative zero
    ends = sorted({min(values), max(values)}) if values else []
    return Measurement(values=ends, failed=sum(cell.fails for cell in cells))


def render(record: KnownFailures, command: str, *, editor: str = "", model: str = "") -> str:
    """Return the file's text; `editor` and `model` where its name and folder do not say them."""
    lines = [f"# {command}"]
    lines += [f"editor = {_text(editor)}", ""] if editor else []
    lines += ["[known_failures]"]
    lines += [f"model = {_text(model)}"] if model else []
    lines += [f"reason = {_text(record.reason)}"] if record.reason else []
    lines += [f"measured_at = {record.measured_at}", f"orders = {record.orders}"]
    lines += [] if record.edit_budget is None else [f"edit_budget = {record.edit_budget}  # by order"]
    lines += [f"[known_failures.fails]  # {MEANING}"] if record.fails else ["fails = {}  # everything passed"]
    for check, by_count in record.fails.items():
        rows = [
            f"{edits} = [{', '.join([*(f'{value:.2f}' for value in found.values), str(found.failed)])}]"
            for edits, found in by_count.items()
        ]
        lines.append(f"{check} = {{ {', '.join(rows)} }}")
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """Return a TOML string: as in JSON, but that DEL must be escaped too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _settings(given: argparse.Namespace) -> Settings:
    profile = profiles.find(given.profile)
    return settings.read(
        model=(given.model,),
        editor=[given.method],
        edits=profile.edits,
        edit_counts=profile.edit_counts,
        edit_order=0,
        limit=profile.limit,
        device="cpu",
        dtype="float32",
        store=given.store,
        inconclusive=profile.inconclusive,
        thresholds=SHIPPED,
        own_thresholds=given.thresholds,
    )


def _is_ours(editor: EditorSpec, model: ModelSource) -> bool:
    """Whether the record belongs in this checkout: a file on what only some runs know would stop all others."""
    named = model.name in models.miniatures() or not Path(model.location).exists()
    return editor.built_in and named and not INSTALLED


def _check_output(output: Path) -> None:
    """Refuse to write into an installed package: the next installation would overwrite it."""
    place = output.resolve()
    if {"site-packages", "dist-packages"} & {*place.parts} or (INSTALLED and place.is_relative_to(SHIPPED.parent)):
        raise ConfigError(
            f"--output {output} is in an installed package, which the next installation overwrites. Allowed: a file of "
            f"your own, such as --output={OWN_FILE}; give it to the gate with --thresholds={OWN_FILE}."
        )


def _reason_on_record(
    output: Path, chosen: Settings, editor: EditorSpec, model: ModelSource, folder: str
) -> str | None:
    """Return the reason that is in the file, which a person wrote there; refuse a file that says more than is written."""
    if not output.exists():
        return None
    names = Names(tuple(spec.name for spec in chosen.editors), tuple(ALL), tuple(each.name for each in chosen.models))
    file = read_file(output, str(output), names, folder)
    about = {(file.editor, record.model) for record in file.contents.known_failures}
    if file.contents.model_fields_set - {"editor", "known_failures"} or about - {(editor.name, model.name)}:
        raise ConfigError(
            f"--output {output} holds more than what {editor.name} fails on {model.name}, and that would be lost. "
            f"Allowed: another file, which --thresholds takes as well."
        )
    return next((record.reason for record in file.contents.known_failures), None)


def _name_in_file(model: ModelSource) -> str:
    """Return a name that holds for every reader: of a folder without where it is on this machine."""
    if model.name in models.miniatures():
        return model.name
    return f"./{model.name}" if Path(model.location).is_dir() else model.location


def _command(given: argparse.Namespace) -> str:
    """Return the command that gives the same numbers, without what is of this machine alone."""
    options = [
        f"--model={given.model}" if given.model != profiles.MODEL else "",
        f"--profile={given.profile}" if given.profile != "default" else "",
        f"--orders={given.orders}" if given.orders != ORDERS else "",
        *(f"--thresholds={file}" for file in given.thresholds),
    ]
    return " ".join(["python -m editgate.known_failures", given.method, *filter(None, options)])


if __name__ == "__main__":
    main()
