"""Lists of edits from files, in any format of `edit_formats`; records that hold none are named, or left out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from editgate.errors import ConfigError
from editgate.inputs import edit_formats
from editgate.inputs.edit_format import EditFormat, check_fields, is_nothing
from editgate.inputs.edit_formats import Zsre, ZsreTrue
from editgate.inputs.files.user_files import Record, is_file, read_records
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
SKIP = "--skip-bad-edits"
MAX_NOTES = 3  # repetitions that are listed, and bad records in an error; the others are counted
SPARE = (
    Edit("The mother tongue of {} is", "Danielle Darrieux", "English", "French"),
    Edit("{} is located in the country of", "Toko Yasuda", "Italy", "Japan"),
)


@dataclass(frozen=True)
class Parsed:
    """What a file of edits holds.

    Attributes:
        edits: by their record, such as "record 3 (line 5)"; in order.
        left_out: number of records without one.
        bad: why a record is none, by record.
        records: how many there are.
        repetitions: which records repeat or contradict an earlier one, in words.
        not_asked: fields with questions that are not asked.
    """

    edits: Mapping[str, Edit]
    left_out: int
    bad: Mapping[str, str]
    records: int
    repetitions: tuple[str, ...] = ()
    not_asked: tuple[str, ...] = ()

    def check(self, path: Path, *, skip_bad: bool) -> None:
        """Refuse bad records, unless they are to be skipped and others are left.

        Raises:
            ConfigError: has the first of them, their number, and the option that skips them.
        """
        if not self.bad or (skip_bad and self.edits):
            return
        (place, why), *others = self.bad.items()
        alike = Counter(self.bad.values())
        if len(self.bad) == self.records > 1 and len(alike) == 1:
            raise ConfigError(f"{path}: {place} and all the other {len(others)}: {why}.")
        way_out = f" {SKIP} leaves out what is none, and lists it." if self.edits else ""
        if not others:
            raise ConfigError(f"{path}: {place}: {why}.{way_out}")
        some = "; ".join(f"{place}: {why}" for place, why in list(self.bad.items())[:MAX_NOTES])
        more = f"; and {len(self.bad) - MAX_NOTES} more" if len(self.bad) > MAX_NOTES else ""
        raise ConfigError(f"{path}: {len(self.bad)} of {self.records} records hold no edit: {some}{more}.{way_out}")


def load(wanted: str, model: ModelSource, *, skip_bad: bool = False) -> tuple[Edit, ...]:
    """Return the edits that `--edits` names: a shipped list, a file, or `answers:` and a file of ZsRE.

    Args:
        wanted: The list's name.
        model: What is to be edited.
        skip_bad: Leave out records that hold no edit; `skipped` lists them.

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
    parsed = _parsed_now(wanted)
    parsed.check(Path(wanted.removeprefix(TRUE_ANSWERS)), skip_bad=skip_bad)
    return tuple(parsed.edits.values())


def describe(wanted: str) -> str:
    """Return the name of a list for people, with what they should know of its records."""
    parsed = _parsed_now(wanted)
    notes = [f"{len(parsed.bad)} of {parsed.records} records hold no edit and are skipped"] if parsed.bad else []
    notes += [f"{parsed.left_out} records without an 'alt' left out"] if parsed.left_out else []
    notes += [f"the questions in {', '.join(parsed.not_asked)} are not asked"] if parsed.not_asked else []
    same = [place for place, edit in parsed.edits.items() if edit.target_new == edit.target_true]
    notes += [f"{len(same)} ask for the answer that they call true, first {same[0]}"] if same else []
    notes += parsed.repetitions[:MAX_NOTES]
    if len(parsed.repetitions) > MAX_NOTES:
        notes.append(f"{len(parsed.repetitions) - MAX_NOTES} more repeat or contradict one")
    return f"{wanted} ({'; '.join(notes)})" if notes else wanted


def by_record(wanted: str) -> Mapping[str, Edit]:
    """Return the edits of a list by their record, such as "record 3 (line 5)", in order."""
    return _parsed_now(wanted).edits


def skipped(wanted: str) -> tuple[str, ...]:
    """Return which records of a list hold no edit, and why."""
    return tuple(f"{place}: {why}" for place, why in _parsed_now(wanted).bad.items())


def with_a_second(edits: tuple[Edit, ...]) -> tuple[Edit, ...]:
    """Return the edits, with a spare one after a single one: rules of integrity need two. No number counts it."""
    if len(edits) != 1:
        return edits
    return (*edits, next(edit for edit in SPARE if not edit.shares_subject(edits[0])))


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
    parsed = _parsed(path, path.stat().st_mtime_ns, true_answers=true_answers)
    parsed.check(path, skip_bad=False)
    return tuple(parsed.edits.values())


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
    records = read_records(path, faults=True)
    if not records:
        raise ConfigError(f"{path}: must hold at least one record.")
    found: dict[str, Edit] = {}
    bad: dict[str, str] = {}
    not_asked: dict[str, None] = {}
    left_out = 0
    for record in records:
        try:
            edits, unread = _edits(record, true_answers=true_answers)
        except (EditError, ValueError) as error:
            bad[record.place] = sentence(error) if isinstance(error, ValidationError) else str(error)
            continue
        left_out += not edits
        not_asked |= dict.fromkeys(unread)
        several = len(edits) > 1
        found |= {f"{record.place}, rewrite {n}" if several else record.place: edit for n, edit in enumerate(edits)}
    return Parsed(found, left_out, bad, len(records), tuple(_repetitions(found)), tuple(not_asked))


def _repetitions(edits: Mapping[str, Edit]) -> Iterator[str]:
    """Say which records ask for the same, or for another answer to the same prompt: the earlier one cannot hold."""
    first: dict[str, tuple[str, Edit]] = {}
    for place, edit in edits.items():
        earlier, other = first.setdefault(edit.text, (place, edit))
        if earlier != place:
            verb = "repeats" if other.target_new == edit.target_new else "contradicts"
            yield f"{place} {verb} {earlier}"


def _edits(record: Record, *, true_answers: bool) -> tuple[Sequence[Edit], Sequence[str]]:
    """Return a record's edits, and the fields with questions that its format leaves out.

    Raises:
        EditError, ValueError: it holds none; says why.
    """
    fields = record.value
    if record.fault:
        raise ValueError(record.fault)
    if not isinstance(fields, Mapping):
        raise ValueError(f"it is {type(fields).__name__}, not an object")  # noqa: TRY004 - a fault of the file
    edit_format = edit_formats.format_of(fields)
    if true_answers and edit_format is not Zsre:
        raise ValueError(f"it is not in ZsRE's format (src, answers, …), which --edits {TRUE_ANSWERS}FILE needs")
    if edit_format is None:
        raise ValueError(_unknown(fields))
    _check_subject(fields, edit_format)
    check_fields(fields, edit_format)
    edits = (ZsreTrue if true_answers else edit_format).model_validate(fields).edits()
    return edits, [name for name in edit_format.not_asked if fields.get(name)]


def _check_subject(fields: Mapping[str, object], edit_format: type[EditFormat]) -> None:
    """Say what a subject is where a record has none, and its prompt is a template that cannot be without."""
    subject, field = fields.get("subject"), edit_format.model_fields.get("subject")
    if field is not None and field.is_required() and (is_nothing(subject) or subject == ""):
        raise ValueError(
            "field 'subject' is missing, the words that stand in the prompt's {} (the format is that of "
            f"{edit_format.called})"
        )


def _unknown(fields: Mapping[str, object]) -> str:
    known = dict.fromkeys(field for known_format in edit_formats.FORMATS for field in known_format.identified_by)
    return (
        f"it has none of the fields that identify its format: {', '.join(known)}; it has "
        f"{', '.join(map(str, fields)) or 'none'}"
    )
