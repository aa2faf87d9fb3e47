"""Recorded retention curves, of which the part is compared that means the same on every processor."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from statistics import median

from syrupy.types import SerializedData

from editgate.measure.edit_quality import KINDS
from editgate.pytest_run.snapshots import ScoreSnapshot

CURVE_TOLERANCE = 0.1  # weights off by 1e-7 moved ROME's collapsed model by 0.06, MEMIT's by nothing
RUINED = 0.6  # retention; below it the last bits of a processor's sums decide: PMET's 0.14 on one was 0.59 on another
ROUNDING = 1e-6  # of the numbers in the file

Curves = Mapping[str, Mapping[str, float]]  # by benchmark or quality, then by N


class CurveSnapshot(ScoreSnapshot):
    """A file of curves: numbers of a ruined model are no record.

    Not compared are two numbers that are both below `RUINED`, and an N at which the median of all benchmarks and
    qualities is below it, then and now: of a model that is lost altogether ToxiGen says whichever answer it repeats.
    Nor are efficacy, paraphrase and locality whose difference a single edit explains, 1 at N = 1: with MEND's network
    of one processor the first edit takes, and with that of another it does not.
    """

    tolerance = CURVE_TOLERANCE

    def diff_lines(self, serialized_data: SerializedData, snapshot_data: SerializedData) -> Iterator[str]:
        """One line for each key that drifted, is new or is gone."""
        try:
            recorded, now = json.loads(snapshot_data), json.loads(serialized_data)
            lost = _ruined(recorded) & _ruined(now)
        except (ValueError, TypeError, AttributeError):  # no record, or none of curves: told as of any other
            yield from super().diff_lines(serialized_data, snapshot_data)
            return
        yield from self.drift(_comparable(recorded, now, lost), _comparable(now, recorded, lost))


def _ruined(curves: Curves) -> set[str]:
    by_count: dict[str, list[float]] = {}
    for curve in curves.values():
        for count, value in curve.items():
            by_count.setdefault(count, []).append(value)
    return {count for count, values in by_count.items() if median(values) < RUINED}


def _comparable(curves: Curves, others: Curves, lost: set[str]) -> dict[str, dict[str, float]]:
    """Leave out numbers that are no record where both curves have one; a missing number is told all the same."""

    def is_record(check: str, count: str, value: float) -> bool:
        other = others.get(check, {}).get(count)
        if other is None:
            return True
        one_edit = check in KINDS and abs(value - other) <= 1 / int(count) + ROUNDING
        return not (one_edit or count in lost or max(value, other) < RUINED)

    return {
        check: {count: value for count, value in curve.items() if is_record(check, count, value)}
        for check, curve in curves.items()
    }
