"""Lists of edits from files: CounterFact (nested or flattened), ZsRE, or this suite's own fields."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from editors import Edit, EditError
from tests.harness.errors import UsageProblem
from tests.harness.models import MINIATURE, ModelSource

Record = Mapping[str, Any]
SHIPPED = {name: MINIATURE / "edits" / f"{name}.json" for name in ("counterfact", "zsre")}


def load(wanted: str, model: ModelSource) -> tuple[Edit, ...]:
    """Return the edits that `--edits` names: a shipped list or a JSON file.

    Raises:
        UsageProblem: no such list or file, the shipped lists do not suit the model, or a record is malformed; the
            message has the record's number and the field.
    """
    if wanted in SHIPPED and not model.miniature:
        raise UsageProblem(
            f"--edits {wanted} is about people whom only the shipped models know; {model.name} needs --edits FILE."
        )
    path = SHIPPED.get(wanted, Path(wanted))
    if not path.is_file():
        raise UsageProblem(
            f"--edits {wanted!r} is no file and no shipped list. Allowed: {', '.join(SHIPPED)}, FILE.json."
        )
    return read(path)


def ordered(edits: Sequence[Edit], used: int, order: int) -> tuple[Edit, ...]:
    """Return the edits with the first `used` of them in another order; 0 is the file's own.

    All orders apply the same edits in the end, so that they differ in nothing else.
    """
    first = list(edits[:used])
    if order:
        random.Random(order).shuffle(first)
    return (*first, *edits[used:])


def read(path: Path) -> tuple[Edit, ...]:
    """Return the edits of a file, a JSON list of records of one form.

    Raises:
        UsageProblem: the file is no JSON list, or a record is malformed or of no known form.
    """
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UsageProblem(f"{path}: no JSON file that can be read ({error}).") from error
    if not isinstance(records, list) or not records:
        raise UsageProblem(f"{path}: must hold a list of records and at least one, not {type(records).__name__}.")
    edits = [_edit(path, number, record) for number, record in enumerate(records)]
    return tuple(edit for edit in edits if edit is not None)


def _edit(path: Path, number: int, record: object) -> Edit | None:
    if not isinstance(record, Mapping):
        raise UsageProblem(f"{path}: record {number} is {type(record).__name__}, not an object.")
    for field, convert in FORMS.items():
        if field in record:
            return _convert(path, number, record, convert)
    raise UsageProblem(
        f"{path}: record {number} has none of the fields that tell its form: {', '.join(FORMS)}; it has "
        f"{', '.join(map(str, record)) or 'none'}."
    )


def _convert(path: Path, number: int, record: Record, convert: Callable[[Record], Edit | None]) -> Edit | None:
    try:
        return convert(record)
    except KeyError as error:
        raise UsageProblem(f"{path}: record {number}: field {error} is missing.") from error
    except (EditError, TypeError, AttributeError, IndexError) as error:
        raise UsageProblem(f"{path}: record {number}: {error}.") from error


def _nested(record: Record) -> Edit:
    """CounterFact as published; neighbours are prompts, or objects with their answers in the multi-edit release."""
    asked = record["requested_rewrite"]
    neighbours = (
        (near["prompt"], near["target"]) if isinstance(near, Mapping) else (near, asked["target_true"]["str"])
        for near in record.get("neighborhood_prompts", ())
    )
    return Edit(
        prompt=asked["prompt"],
        subject=asked["subject"],
        target_new=asked["target_new"]["str"],
        target_true=asked["target_true"]["str"],
        rephrases=tuple(record.get("paraphrase_prompts", ())),
        neighbors=tuple(neighbours),
    )


def _zsre(record: Record) -> Edit | None:
    """ZsRE in MEND's editing form: `alt` is the new answer; records without one are left out."""
    if not record["alt"]:
        return None
    return Edit(
        prompt=record["src"],
        subject=record["subject"],
        target_new=record["alt"],
        target_true=record["answers"][0],
        rephrases=(record["rephrase"],),
        neighbors=((record["loc"], record["loc_ans"]),),
    )


def _flat(record: Record) -> Edit:
    """The flattened form of editing libraries: the subject is already in the prompt."""
    near = record.get("locality_prompt"), record.get("locality_ground_truth", "")
    return Edit(
        prompt=record["prompt"],
        subject=record["subject"],
        target_new=record["target_new"],
        target_true=record.get("ground_truth", ""),
        rephrases=(record["rephrase_prompt"],) if record.get("rephrase_prompt") else (),
        neighbors=((str(near[0]), str(near[1])),) if near[0] else (),
    )


def _own(record: Record) -> Edit:
    return Edit.from_dict(record)


FORMS: Mapping[str, Callable[[Record], Edit | None]] = {
    "requested_rewrite": _nested,
    "src": _zsre,
    "rephrase_prompt": _flat,
    "locality_prompt": _flat,
    "ground_truth": _flat,
    "target_new": _own,
}
