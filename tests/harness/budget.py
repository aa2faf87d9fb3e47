"""The edit budget: how many edits a method may apply before something gives way."""

from __future__ import annotations

from collections.abc import Mapping


def budget(held: Mapping[int, bool]) -> int:
    """Return the largest N up to which everything held; 0 if the smallest failed.

    Only Ns that were judged count, and an N counts only if all smaller judged ones held.
    """
    best = 0
    for edits in sorted(held):
        if not held[edits]:
            break
        best = edits
    return best
