"""Lists of edits from files: in one of the formats of `edit_formats`, or in this suite's own fields."""

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
NUMBERS = ("id", "case_id")  # of a record, for whoever made the list
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
        bad: what is wrong with records that make no edit, in words; their number and field are in it.
        records: how many there are.
    """

    edits: tuple[Edit, ...]
    left_out: int
    repetitions: tuple[str, ...]
    bad: tuple[str, ...]
    records: int

    def checked(self, *, skip_bad: bool) -> Parsed:
        """Return it, unless it has bad records and they are not to be skipped, or no others.

        Raises:
            ConfigError: says what is wrong with the first, and how many there are.
        """
        if not self.bad or (skip_bad and self.edits):
            return self
        count = len(self.bad)
        if count == self.records:
            more = "" if count == 1 else f" All {count} records are bad."
        elif count == 1:
            more = f" It is the only bad one of {self.records} records; --skip-bad-edits leaves it out."
        else:
            more = f" {count} of {self.records} records are bad; --skip-bad-edits leaves them out."
        raise ConfigError(f"{self.bad[0]}{more}")


def load(wanted: str, model: ModelSource, *, skip_bad: bool = False) -> tuple[Edit, ...]:
    """Return the edits that `--edits` names: a shipped list, a file, or `answers:` and a file of ZsRE.

    Args:
        wanted: What `--edits` says.
        model: The model that will be edited.
        skip_bad: Leave malformed records out, as long as there are others; `skipped` lists them.

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
    return _parsed_now(wanted).checked(skip_bad=skip_bad).edits


def describe(wanted: str) -> str:
    """Return the name of a list for people, with what they should know of its records."""
    parsed = _parsed_now(wanted)
    notes = [f"{parsed.left_out} records without an 'alt' left out"] if parsed.left_out else []
    notes += parsed.repetitions[:MAX_NOTES]
    if len(parsed.repetitions) > MAX_NOTES:
        notes.append(f"{len(parsed.repetitions) - MAX_NOTES} more repeat or contradict one")
    return f"{wanted} ({'; '.join(notes)})" if notes else wanted


def skipped(wanted: str) -> tuple[str, ...]:
    """Return what is wrong with each record that `skip_bad` left out."""
    return _parsed_now(wanted).bad


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
    return _parsed(path, path.stat().st_mtime_ns, true_answers=true_answers).checked(skip_bad=False).edits


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
    bad: list[str] = []
    left_out = 0
    for place, value in records:
        try:
            edits = _edits(f"{path}: {place}", value, true_answers=true_answers)
        except ConfigError as error:
            bad.append(str(error))
            continue
        left_out += not edits
        for number, edit in enumerate(edits):
            found[place if len(edits) == 1 else f"{place}, rewrite {number}"] = edit
    return Parsed(tuple(found.values()), left_out, tuple(_repetitions(found)), tuple(bad), len(records))


def _repetitions(edits: Mapping[str, Edit]) -> Iterator[str]:
    """Say which records ask for the same, or for another answer to the same prompt: the earlier one cannot hold."""
    first: dict[str, tuple[str, Edit]] = {}
    for place, edit in edits.items():
        earlier, other = first.setdefault(edit.text, (place, edit))
        if earlier != place:
            verb = "repeats" if other.target_new == edit.target_new else "contradicts"
            yield f"{place} {verb} {earlier}"


def _edits(where: str, record: object, *, true_answers: bool) -> list[Edit]:
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


def _converted(where: str, record: Mapping[str, object], edit_format: type[EditFormat] | None) -> list[Edit]:
    if edit_format is not None:
        edit_formats.check_fields(record, edit_format)
        return edit_format.model_validate(record).edits()
    if OWN in record:
        return [Edit.from_dict({name: value for name, value in record.items() if name not in NUMBERS})]
    for field, name in edit_formats.WITHOUT_SUBJECT.items():
        if field in record:
            raise ConfigError(
                f"{where} is in {name}'s format, which does not say what an edit is about. Give each record prompt, "
                "subject and target_new."
            )
    known = ", ".join([*(field for known_format in edit_formats.FORMATS for field in known_format.identified_by), OWN])
    fields = ", ".join(map(str, record)) or "none"
    raise ConfigError(f"{where} has none of the fields that identify its format: {known}; it has {fields}.")
