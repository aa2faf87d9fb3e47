"""Lists of edits from files: CounterFact (nested or flattened), ZsRE, QAEdit, or this suite's own fields."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from editgate.errors import ConfigError
from editgate.inputs import edit_formats
from editgate.inputs.edit_formats import EditFormat, Zsre, ZsreTrue
from editgate.inputs.files.user_files import is_file, read_records
from editgate.inputs.files.validation import sentence
from editgate.inputs.models import MINIATURE, ModelSource
from editors import Edit, EditError

SHIPPED = {name: MINIATURE / "edits" / f"{name}.json" for name in ("counterfact", "zsre")}
# Where the authors of ROME and MEMIT publish both; ZsRE as MEND split it.
PUBLISHED = {
    "counterfact": "https://memit.baulab.info/data/dsets/counterfact.json",
    "zsre": "https://memit.baulab.info/data/dsets/zsre_mend_eval.json",
}
TRUE_ANSWERS = "answers:"  # before a file of ZsRE: edit towards the true answers, as ROME and MEMIT do
OWN = "target_new"  # identifies a record in the fields of `Edit`
MAX_NOTES = 3  # repetitions that are listed; the others are counted
SPARE = (
    Edit("The mother tongue of {} is", "Danielle Darrieux", "English", "French"),
    Edit("{} is located in the country of", "Toko Yasuda", "Italy", "Japan"),
)


@dataclass(frozen=True)
class Parsed:
    """The edits of a file.

    Attributes:
        edits: in order.
        left_out: number of records without one.
        repetitions: which records repeat or contradict an earlier one, in words.
    """

    edits: tuple[Edit, ...]
    left_out: int
    repetitions: tuple[str, ...] = ()


def load(wanted: str, model: ModelSource) -> tuple[Edit, ...]:
    """Return the edits that `--edits` names: a shipped list, a file, or `answers:` and a file of ZsRE.

    Raises:
        ConfigError: no such list or file, the shipped lists are not for this model, or a record is malformed; the
            message has the record's number and the field.
    """
    if wanted in SHIPPED and not model.miniature:
        file = PUBLISHED[wanted].rpartition("/")[2]
        raise ConfigError(
            f"--edits {wanted} is about people that only the shipped models know. For {model.name} fetch the published "
            f"file once ({PUBLISHED[wanted]}) and give --edits {file}."
        )
    return _parsed_now(wanted).edits


def describe(wanted: str) -> str:
    """Return the name of a list for people, with what they should know of its records."""
    parsed = _parsed_now(wanted)
    notes = [f"{parsed.left_out} records without an 'alt' left out"] if parsed.left_out else []
    notes += parsed.repetitions[:MAX_NOTES]
    if len(parsed.repetitions) > MAX_NOTES:
        notes.append(f"{len(parsed.repetitions) - MAX_NOTES} more repeat or contradict one")
    return f"{wanted} ({'; '.join(notes)})" if notes else wanted


def with_a_second(edits: tuple[Edit, ...]) -> tuple[Edit, ...]:
    """Return the edits, with a spare one after a single one: rules of integrity need two. No number counts it."""
    if len(edits) != 1:
        return edits
    return (*edits, next(edit for edit in SPARE if edit.subject != edits[0].subject))


def ordered(edits: Sequence[Edit], used: int, order: int) -> tuple[Edit, ...]:
    """Return the edits with the first `used` of them in another order; 0 is the file's own.

    All orders apply the same edits in the end, so that they differ in nothing else.
    """
    first = list(edits[:used])
    if order:
        random.Random(order).shuffle(first)
    return (*first, *edits[used:])


def read(path: Path, *, true_answers: bool = False) -> tuple[Edit, ...]:
    """Return the edits of a file: a JSON list of records in known formats, or one record a line (.jsonl).

    Args:
        path: The file.
        true_answers: Of ZsRE, edit towards the first of the true `answers` instead of `alt`.

    Raises:
        ConfigError: the file cannot be read, or a record is malformed or in no known format.
    """
    return _parsed(path, path.stat().st_mtime_ns, true_answers=true_answers).edits


def _parsed_now(wanted: str) -> Parsed:
    true_answers = wanted.startswith(TRUE_ANSWERS)
    path = SHIPPED.get(wanted, Path(wanted.removeprefix(TRUE_ANSWERS)))
    if not is_file(path):
        raise ConfigError(
            f"--edits {wanted!r} is neither a file nor a shipped list. Allowed: {', '.join(SHIPPED)}, FILE.json, "
            f"FILE.jsonl, {TRUE_ANSWERS}FILE."
        )
    return _parsed(path, path.stat().st_mtime_ns, true_answers=true_answers)


@cache
def _parsed(path: Path, _written: int, *, true_answers: bool) -> Parsed:
    """Read a file once for all models; its modification time tells whether it has changed."""
    records = read_records(path)
    if not records:
        raise ConfigError(f"{path}: must hold at least one record.")
    found: dict[str, Edit] = {}
    for place, value in records:
        edit = _edit(f"{path}: {place}", value, true_answers=true_answers)
        if edit is not None:
            found[place] = edit
    return Parsed(tuple(found.values()), len(records) - len(found), tuple(_repetitions(found)))


def _repetitions(edits: Mapping[str, Edit]) -> Iterator[str]:
    """Say which records ask for the same, or for another answer to the same prompt: the earlier one cannot hold."""
    first: dict[str, tuple[str, Edit]] = {}
    for place, edit in edits.items():
        earlier, other = first.setdefault(edit.text, (place, edit))
        if earlier != place:
            verb = "repeats" if other.target_new == edit.target_new else "contradicts"
            yield f"{place} {verb} {earlier}"


def _edit(where: str, record: object, *, true_answers: bool) -> Edit | None:
    if not isinstance(record, Mapping):
        raise ConfigError(f"{where} is {type(record).__name__}, not an object.")
    edit_format = edit_formats.format_of(record)
    if true_answers and edit_format is not Zsre:
        raise ConfigError(f"{where} is not in ZsRE's format (src, answers, …), which --edits {TRUE_ANSWERS}FILE needs.")
    try:
        return _converted(where, record, ZsreTrue if true_answers else edit_format)
    except ValidationError as error:
        raise ConfigError(f"{where}: {sentence(error)}.") from error
    except (EditError, ValueError) as error:
        raise ConfigError(f"{where}: {error}.") from error


def _converted(where: str, record: Mapping[str, object], edit_format: type[EditFormat] | None) -> Edit | None:
    if edit_format is not None:
        edit_formats.check_fields(record, edit_format)
        return edit_format.model_validate(record).edit()
    if OWN in record:
        return Edit.from_dict(record)
    known = ", ".join([*(field for known_format in edit_formats.FORMATS for field in known_format.identified_by), OWN])
    fields = ", ".join(map(str, record)) or "none"
    raise ConfigError(f"{where} has none of the fields that identify its format: {known}; it has {fields}.")
