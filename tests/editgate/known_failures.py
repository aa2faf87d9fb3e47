"""Measures what a method fails and writes it down, so that a gate is red for news alone.

    python -m editgate.known_failures memit
    python -m editgate.known_failures my_pkg.my_module:MyEditor --output=known_failures.toml

The same edits are applied in several orders, each a trajectory of its own: what every order fails becomes a strict
expected failure (xfail), what some fail one that is not strict. The reason is a person's to write, into the file.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from editgate.cases import Case
from editgate.errors import ConfigError
from editgate.inputs import models
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import ModelSource
from editgate.measure.session import EvaluationSession
from editgate.options.options import Options, add_to
from editgate.options.profiles import MODEL
from editgate.options.programs import Parser
from editgate.options.settings import Settings, read
from editgate.verdict.cell import checks_at, evaluate_cell
from editgate.verdict.outcome import Cell, Outcome
from editgate.verdict.threshold_files import read_file
from editgate.verdict.threshold_schema import KnownFailures, Measurement, Names
from editgate.verdict.thresholds import SHIPPED

ORDERS = 3
UNEXPLAINED = "not yet explained"
OWN_FILE = Path("known_failures.toml")
INSTALLED = SHIPPED.is_relative_to(Path(__file__).parent)  # and not a checkout
MEANING = "N = [lowest, highest retention or share (one number if equal), orders that failed]"
NOT_TAKEN = tuple("--editor --edited --edit-order --budget --min-budget --report --compare --items".split())


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, write the file and show it."""
    parser = _parser()
    given = parser.parse_args(arguments)
    with parser.ending_in_a_sentence():
        options = Options.of_command_line(given)
        chosen = read(options.model_copy(update={"editor": (given.method,)}), Path(".editgate"), model_names=(MODEL,))
        editor = next(spec for spec in chosen.editors if spec.name in chosen.chosen_editors)
        model = next(source for source in chosen.models if source.name in chosen.chosen_models)
        _check_request(given.orders, editor)
        shipped = SHIPPED / model.name / f"{editor.label}.toml"
        output = given.output or (shipped if _is_ours(editor, model) else OWN_FILE)
        in_place = output.resolve() == shipped.resolve()
        folder = model.name if output.resolve().parent == shipped.resolve().parent else ""
        on_record = _reason_on_record(output, chosen, editor, model, folder)
        session = EvaluationSession(chosen, lambda text: print(text, file=sys.stderr))
        cells = measure(session, editor, model, given.orders)
    record = summarize(model.name, cells, given.reason or on_record or UNEXPLAINED, editor.batch_size)
    orders = [] if given.orders == ORDERS else [f"--orders={given.orders}"]
    command = " ".join(["python -m editgate.known_failures", given.method, *options.repeated(), *orders])
    about = {"editor": editor.name} if not in_place or output.stem != editor.name else {}
    text = render(record, command, **about, **({} if in_place else {"model": _name_in_file(model)}))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{text}written to {output}\n")


def _parser() -> Parser:
    parser = Parser(
        "editgate.known_failures",
        "Measure what an editing method fails on one model, over several orders of the edits.",
        not_taken=NOT_TAKEN,
    )
    parser.add_argument("method", help="a built-in or registered method, or package.module:Class")
    parser.add_argument("--orders", type=int, default=ORDERS, help="orders of the edits. Default: %(default)s")
    parser.add_argument("--reason", help="why it fails. Default: the reason that is in the file")
    parser.add_argument(
        "--output", type=Path, help=f"Default: thresholds/MODEL/METHOD.toml (in batches METHOD-bB.toml), or {OWN_FILE}"
    )
    add_to(parser)
    return parser


def measure(session: EvaluationSession, editor: EditorSpec, model: ModelSource, orders: int) -> list[list[Cell]]:
    """Return the cells of every benchmark and quality at every N, one list an order of the edits.

    Raises:
        EvaluationError: there is no verdict.
        EditorError: the method cannot apply an edit.
    """
    found = []
    for order in range(orders):
        session.announce(f"{editor.name} on {model.name}: order {order}, {order + 1} of {orders}")
        cells = [
            evaluate_cell(session, case, order=order)
            for case in checks_at(session, Case(editor, model, "", benchmarks=session.settings.benchmarks))
        ]
        found.append([cell for cell in cells if cell.outcome is not Outcome.SKIPPED])
    return found


def summarize(model: str, orders: Sequence[Sequence[Cell]], reason: str, batch_size: int = 1) -> KnownFailures:
    """Return what these orders failed; values are kept from the first N on at which some order failed."""
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
    budgets = [max((edits for edits in counts if edits < end), default=0) for end in ends]
    return KnownFailures(
        model=model,
        reason=reason if fails else None,
        batch_size=batch_size,
        measured_at=counts,
        orders=len(orders),
        edit_budget=budgets,
        fails=fails,
    )


def _measurement(cells: Sequence[Cell]) -> Measurement:
    values = [round(cell.value, 2) + 0.0 for cell in cells if cell.value is not None]  # + 0.0: no negative zero
    return Measurement(values=sorted({min(values), max(values)}), failed=sum(cell.fails for cell in cells))


def render(record: KnownFailures, command: str, *, editor: str = "", model: str = "") -> str:
    """Return the file's text; `editor` and `model` where its name and folder do not say them."""
    lines = [f"# {command}"]
    lines += [f"editor = {_text(editor)}", ""] if editor else []
    lines += ["[known_failures]"]
    lines += [f"model = {_text(model)}"] if model else []
    lines += [f"reason = {_text(record.reason)}"] if record.reason else []
    lines += [f"batch_size = {record.batch_size}"] if record.batch_size > 1 else []
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


def _check_request(orders: int, editor: EditorSpec) -> None:
    if orders < 1:
        raise ConfigError(f"--orders is {orders}; allowed: at least 1, and at least 2 for failures that are strict.")
    if editor.built_in and editor.settings:
        raise ConfigError(
            f"--editor-arg: known failures of {editor.name} are those of its shipped hyperparameters. Allowed: none."
        )


def _is_ours(editor: EditorSpec, model: ModelSource) -> bool:
    """Whether the record belongs in this checkout: a file on what only some runs know would stop all others."""
    named = model.name in models.miniatures() or not Path(model.location).exists()
    return editor.built_in and named and not INSTALLED


def _reason_on_record(
    output: Path, chosen: Settings, editor: EditorSpec, model: ModelSource, folder: str
) -> str | None:
    """Return the reason that is in the file, a person's; refuse a file that must not be written."""
    place = output.resolve()
    if {"site-packages", "dist-packages"} & {*place.parts} or (INSTALLED and place.is_relative_to(SHIPPED.parent)):
        raise ConfigError(
            f"--output {output} is in an installed package, which the next installation overwrites. Allowed: a file of "
            f"your own, such as --output={OWN_FILE}; the gate takes it as --thresholds={OWN_FILE}."
        )
    if not output.exists():
        return None
    names = Names(
        tuple(spec.name for spec in chosen.editors),
        tuple(chosen.benchmarks),
        tuple(each.name for each in chosen.models),
    )
    file = read_file(output, str(output), names, folder)
    about = {(file.editor, record.model, record.batch_size) for record in file.contents.known_failures}
    ours = (editor.name, model.name, editor.batch_size)
    if file.contents.model_fields_set - {"editor", "known_failures"} or about - {ours}:
        raise ConfigError(
            f"--output {output} holds more than what {editor.label} fails on {model.name}, and that would be lost. "
            f"Allowed: another file, which --thresholds takes as well."
        )
    return next((record.reason for record in file.contents.known_failures), None)


def _name_in_file(model: ModelSource) -> str:
    """Return a name that holds for every reader: of a folder without where it is on this machine."""
    if model.name in models.miniatures():
        return model.name
    if model.file is not None:
        return f"./{model.file.name}"
    return f"./{model.name}" if Path(model.location).is_dir() else model.location


if __name__ == "__main__":
    main()
