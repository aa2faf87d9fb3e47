"""Recorded scores: one JSON file a test, compared with tolerance, never written behind anybody's back.

syrupy does the bookkeeping (places, `--snapshot-update`). What is ours: numbers may drift a
little between machines, a drift is told in one readable line per number, a missing baseline is written and
*fails*, and under CI nothing is written at all.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias
from urllib.parse import quote

import pytest
from syrupy.extensions.json import JSONSnapshotExtension

from editgate.errors import ConfigError

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion
    from syrupy.location import PyTestLocation
    from syrupy.types import PropertyFilter, PropertyMatcher, SerializableData, SerializedData, SnapshotIndex

Json: TypeAlias = Any
TOLERANCE = 0.02  # on a score between 0 and 1; a few items of 400 flip between processors and torch releases
DIGITS = 6  # of recorded floats; far below any tolerance, and diffs stay readable
NAME_LIMIT = 180  # of a file's name without its extension; file systems stop at 255 bytes
UNUSED = "disable_unused_snapshots"  # syrupy's option
SAFE = "[]-_.,= "  # beside letters and digits; everything else is percent-encoded


class ScoreSnapshot(JSONSnapshotExtension):
    """A JSON file whose floats may drift; everything else must be equal.

    Attributes:
        tolerance: largest absolute drift of a float.
        tolerances: for dotted keys that match a pattern such as "*.perplexity", another one; the first match
            counts.
    """

    tolerance: ClassVar[float] = TOLERANCE
    tolerances: ClassVar[Mapping[str, float]] = {}

    @classmethod
    def with_tolerances(cls, tolerances: Mapping[str, float], tolerance: float = TOLERANCE) -> type[ScoreSnapshot]:
        """A variant for `snapshot.with_defaults(extension_class=...)`, such as {"*.perplexity": 0.5}."""
        return type("ScoreSnapshot", (cls,), {"tolerance": tolerance, "tolerances": dict(tolerances)})

    @classmethod
    def get_location(cls, *, test_location: PyTestLocation, index: SnapshotIndex) -> str:
        """Where a baseline lies: beside its test, or, of an installed gate, below the root directory of the run.

        What was shipped with an installed gate is read where it is; nothing is written there.
        """
        beside = Path(super().get_location(test_location=test_location, index=index))
        root = test_location.item.config.rootpath
        if beside.is_relative_to(root) or beside.exists():
            return str(beside)
        return str(root / "__snapshots__" / beside.parent.name / beside.name)

    def serialize(
        self,
        data: SerializableData,
        *,
        exclude: PropertyFilter | None = None,
        include: PropertyFilter | None = None,
        matcher: PropertyMatcher | None = None,
    ) -> str:
        """Sorted, indented JSON with floats of six digits.

        Raises:
            ValueError: a number is NaN or infinite, or a key is not text.
        """
        return str(super().serialize(tidy(data), exclude=exclude, include=include, matcher=matcher))

    def matches(self, *, serialized_data: SerializableData, snapshot_data: SerializableData) -> bool:
        """True if every float is within its tolerance and the rest is equal: then nothing is rewritten."""
        return not list(self.diff_lines(serialized_data, snapshot_data))

    def diff_lines(self, serialized_data: SerializedData, snapshot_data: SerializedData) -> Iterator[str]:
        """One line for each key that drifted, is new or is gone."""
        try:
            recorded = json.loads(snapshot_data or "null")
        except ValueError as error:
            yield f"the recorded baseline is not valid JSON ({error})"
            return
        yield from self.drift(recorded, json.loads(serialized_data))

    @classmethod
    def drift(cls, recorded: Json, now: Json, key: str = "") -> Iterator[str]:
        """Compares two JSON values, depth first."""
        if isinstance(recorded, dict) and isinstance(now, dict):
            for name in sorted({*recorded, *now}):
                inner = f"{key}.{name}" if key else name
                yield from cls.drift(recorded.get(name, MISSING), now.get(name, MISSING), inner)
        elif isinstance(recorded, list) and isinstance(now, list) and len(recorded) == len(now):
            for i, (old, new) in enumerate(zip(recorded, now, strict=True)):
                yield from cls.drift(old, new, f"{key}[{i}]")
        elif recorded is MISSING:
            yield f"{key}: not in the baseline -> now {_shown(now)}"
        elif now is MISSING:
            yield f"{key}: baseline {_shown(recorded)} -> now gone"
        else:
            yield from cls._drift_of_leaf(recorded, now, key)

    @classmethod
    def _drift_of_leaf(cls, recorded: Json, now: Json, key: str) -> Iterator[str]:
        line = f"{key or 'value'}: baseline {_shown(recorded)} -> now {_shown(now)}"
        if isinstance(recorded, float) and isinstance(now, float):
            allowed = cls._tolerance_of(key)
            if not abs(recorded - now) <= allowed + 1e-9:  # 0.52 - 0.5 is a little more than 0.02
                yield f"{line} (tolerance {allowed:g})"
        elif type(recorded) is not type(now) or recorded != now:
            yield line

    @classmethod
    def _tolerance_of(cls, key: str) -> float:
        found = (value for pattern, value in cls.tolerances.items() if fnmatchcase(key, pattern))
        return next(found, cls.tolerance)

    @classmethod
    def get_snapshot_name(cls, *, test_location: PyTestLocation, index: SnapshotIndex = 0) -> str:
        """A file name that no other test has: syrupy drops "/" and ":", so that "a/b" and "ab" would meet."""
        which = f"[{safe_name(index)}]" if isinstance(index, str) else f".{index}" if index else ""
        return safe_name(test_location.snapshot_name) + which

    @classmethod
    def matches_test_location(cls, *, test_location: PyTestLocation, snapshot_location: str) -> bool:
        """Whether that file belongs to that test; the inverse of `get_snapshot_name`."""
        file = Path(snapshot_location)
        own = safe_name(test_location.snapshot_name)
        return (
            file.parent.name == test_location.basename
            and test_location.matches_snapshot_site(snapshot_location)
            and (file.stem == own or file.stem.startswith((f"{own}.", f"{own}[")))
        )


MISSING = object()


def safe_name(name: str) -> str:
    """The name with all but letters, digits and a few signs percent-encoded; long ones end in a digest."""
    safe = quote(name, safe=SAFE)
    if len(safe) <= NAME_LIMIT:
        return safe
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{safe[:NAME_LIMIT]}~{digest}"


def tidy(data: Json) -> Json:
    """A copy with floats rounded and tuples as lists.

    Raises:
        ValueError: a number is NaN or infinite, or a key is not text.
    """
    if isinstance(data, float):
        if not math.isfinite(data):
            raise ValueError(f"a baseline cannot hold {data}; the evaluation is broken, not the baseline")
        return round(data, DIGITS)
    if isinstance(data, Mapping):
        if wrong := [key for key in data if not isinstance(key, str)]:
            raise ValueError(f"a baseline's keys are text, got {wrong[0]!r}")
        return {key: tidy(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [tidy(value) for value in data]
    return data


def under_ci() -> bool:
    """True if the environment says that no person is watching."""
    return os.environ.get("CI", "").lower() not in {"", "0", "false", "no"}


def refuse_update_under_ci(config: pytest.Config) -> None:
    """Stops a run that would write baselines where nobody reviews them.

    Raises:
        ConfigError: `--snapshot-update` or `--snapshot-update-new-only` is given and CI is set.
    """
    options = {"update_snapshots": "", "update_new_snapshots_only": "-new-only"}
    given = [f"--snapshot-update{end}" for name, end in options.items() if config.getoption(name, default=False)]
    if given and under_ci():
        raise ConfigError(
            f"{given[0]} is refused under CI: baselines are recorded locally, reviewed and committed.\n"
            "Run it on your machine (or unset CI) and commit the files below __snapshots__."
        )


@contextmanager
def unused_ignored(config: pytest.Config) -> Iterator[None]:
    """Inside, syrupy neither counts, nor prints, nor deletes what it calls unused.

    A run is about one model, editor or benchmark: the baselines of all others are not unused but deselected. Its own
    switch for that prints that it is not recommended, so the switch is back before anything is printed.
    """
    given = getattr(config.option, UNUSED, None)
    setattr(config.option, UNUSED, True)
    try:
        yield
    finally:
        setattr(config.option, UNUSED, given)


def is_recorded(snapshot: SnapshotAssertion) -> bool:
    """Return whether there is a baseline for this test, or one is about to be written."""
    location = snapshot.extension.get_location(test_location=snapshot.test_location, index=snapshot.index)
    return Path(location).exists() or snapshot.update_snapshots


def assert_baseline(snapshot: SnapshotAssertion, data: Json) -> None:
    """Holds `data` against the recorded baseline; fails the test on drift or if there is no baseline yet.

    Args:
        snapshot: syrupy's fixture, `snapshot.with_defaults(extension_class=ScoreSnapshot)`.
        data: dicts with text keys, lists, numbers, strings; scores as floats, counts as ints.

    Raises:
        ValueError: the data holds NaN, infinity, or a key that is not text.
    """
    __tracebackhide__ = True
    data = tidy(data)
    location = snapshot.extension.get_location(test_location=snapshot.test_location, index=snapshot.index)
    shown = _relative(Path(location), snapshot.test_location.item.config.rootpath)
    if not Path(location).exists() and not snapshot.update_snapshots:
        _record_and_fail(snapshot, data, shown)
    if snapshot == data:
        return
    lines = "\n".join(f"    {line}" for line in snapshot.get_assert_diff())
    pytest.fail(
        f"the recorded baseline {shown} is not what came out:\n{lines}\n"
        "If that is meant: run this test with --snapshot-update, review, commit.",
        pytrace=False,
    )


def _record_and_fail(snapshot: SnapshotAssertion, data: Json, shown: str) -> None:
    __tracebackhide__ = True
    if under_ci():
        pytest.fail(
            f"no baseline recorded: {shown}. Under CI none is written: run this test locally, review the "
            "file that it writes, and commit it.",
            pytrace=False,
        )
    before, snapshot.update_new_snapshots_only = snapshot.update_new_snapshots_only, True
    try:
        written = snapshot == data
    finally:
        snapshot.update_new_snapshots_only = before
    if not written:
        pytest.fail("\n".join(snapshot.get_assert_diff()), pytrace=False)
    pytest.fail(f"baseline written: review and commit {shown}", pytrace=False)


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _shown(value: Json) -> str:
    if isinstance(value, float):
        return repr(value)
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:59]}…"
