"""Memory that was freed, given back to the system: glibc keeps it, in pieces, for whoever asks for such a piece."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Give it back, where the C library is glibc; on a model of 1 GB some edits leave a tenth of that."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
