"""Memory that was freed goes back to the system at once: glibc keeps pieces, and a large model leaves many."""

from __future__ import annotations

import ctypes
import sys

LARGE = 1 << 28  # bytes of weights; a smaller model's pieces are not worth the time of asking for each anew
PIECE = 1 << 20  # bytes of what is mapped alone, and given back when it is freed
TOP = 8 << 20  # bytes that the heap may keep at its end
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def give_back_at_once() -> None:
    """From now on map each large piece alone, in this process; where the C library is not glibc, nothing happens.

    By itself glibc maps only pieces above the largest one that was freed so far, up to 32 MiB. On a model of 1 GB what
    then lay free between the others after one benchmark was a fifth of the weights (docs/big-models.md).
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(M_MMAP_THRESHOLD, PIECE)
        mallopt(M_TRIM_THRESHOLD, TOP)
