"""Which methods cannot take the edits as a run would give them: too many at once, or without a subject.

Whoever names such a method is told so before anything is loaded. Where it is one of all methods it is left out of the
run, which says so: what it would be judged by is not what the others are judged by.
"""

from __future__ import annotations

from collections.abc import Sequence

import editors
from editgate.inputs.editor_specs import EditorSpec
from editors import Edit


def suits(spec: EditorSpec, edits: Sequence[Edit]) -> bool:
    """Return whether an editor takes these edits, as many at once as it would get."""
    return _takes_batches(spec) and _finds_subjects(spec, edits)


def explain(specs: Sequence[EditorSpec], edits: Sequence[Edit]) -> str:
    """Say which of these editors do not take these edits, why, and which built-in ones would; nothing if all do."""
    single = [spec for spec in specs if not _takes_batches(spec)]
    lost = [spec for spec in specs if not _finds_subjects(spec, edits)]
    said = []
    if single:
        able = [name for name in editors.names() if editors.takes_batches(name)]
        size, takes = single[0].batch_size, "takes" if len(single) == 1 else "take"
        said.append(f"--batch-size {size}: {_named(single)} {takes} one edit at a time; batches: {', '.join(able)}.")
    if lost:
        able = [name for name in editors.names() if not editors.needs_subject(name)]
        without = [edit for edit in edits if edit.subject is None]
        needs = "needs" if len(lost) == 1 else "need"
        said.append(
            f"--edits: {len(without)} of {len(edits)} have no subject, first {without[0].text!r}, and {_named(lost)} "
            f"{needs} one; without: {', '.join(able)}."
        )
    return " ".join(said)


def _takes_batches(spec: EditorSpec) -> bool:
    return spec.batch_size == 1 or editors.takes_batches(spec.target)


def _finds_subjects(spec: EditorSpec, edits: Sequence[Edit]) -> bool:
    without = any(edit.subject is None for edit in edits)
    return not without or spec.external or not editors.needs_subject(spec.target)


def _named(specs: Sequence[EditorSpec]) -> str:
    return ", ".join(spec.name for spec in specs)
