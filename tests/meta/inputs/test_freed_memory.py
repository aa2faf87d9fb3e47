"""What a run on a large model frees is the system's at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from meta.support.gate import ROOT

PIECES = """
import sys
from pathlib import Path
from editgate.inputs import freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

def filled(megabytes):
    return bytearray(b"x") * (megabytes << 20)

if sys.argv[1] == "at once":
    freed_memory.give_back_at_once()
filled(30)  # from now on glibc keeps what is smaller
pieces = [filled(8) for _ in range(20)]
full = resident()
del pieces[::2]
print(full - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that keeps memory")
def test_what_lies_between_two_pieces_is_given_back() -> None:
    """Ten of twenty pieces of 8 MB are freed: 80 MB go back, of which the C library by itself keeps most."""

    def freed(how: str) -> float:
        command = [sys.executable, "-c", PIECES, how]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT / "tests")  # noqa: S603 - our own
        return float(done.stdout)

    assert freed("at once") > 70
    assert freed("as it is") < 40
