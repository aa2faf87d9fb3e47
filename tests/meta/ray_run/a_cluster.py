"""A cluster of several nodes on this machine, in a process of its own: what forks later must not have used Ray.

Run as a program it prints the cluster's address, kills or replaces a node for each line that it reads, and then ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NOTICED = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
OBJECTS = 80 * 2**20


@dataclass
class Cluster:
    """A running cluster.

    Attributes:
        address: HOST:PORT.
        process: that holds it.
    """

    address: str
    process: subprocess.Popen[str]

    def kill(self, node: int) -> None:
        """Kill a node with all its processes, as a power cut would; the first is 0, and is not the head."""
        self._do(f"kill {node}")

    def replace(self, node: int) -> None:
        """Put another in the place of a node that was killed."""
        self._do(f"replace {node}")

    def _do(self, command: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == f"{command}\n"


@contextmanager
def cluster(*cpus: int) -> Iterator[Cluster]:
    """Start a head without cores, and nodes with so many each; afterwards no process of them is left."""
    command = [sys.executable, "-m", "meta.ray_run.a_cluster", *map(str, cpus)]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as process,  # noqa: S603
    ):
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        errors.seek(0)
        assert address, errors.read()
        try:
            yield Cluster(address, process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)


def main(cpus: list[int]) -> None:
    """Hold the cluster until the input ends."""
    from ray.cluster_utils import Cluster as RaysCluster  # noqa: PLC0415 - not in the test's process

    home = os.environ.get("RAY_TMPDIR") or "/tmp"  # noqa: S108 - sockets need a short path
    Path(home).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="test-", dir=home, ignore_cleanup_errors=True) as folder:
        common = {"object_store_memory": OBJECTS, "include_dashboard": False}
        head = {"num_cpus": 0, "_system_config": NOTICED, "temp_dir": folder, **common}
        made = RaysCluster(initialize_head=True, head_node_args=head)
        nodes = [made.add_node(wait=False, num_cpus=number, **common) for number in cpus]
        made.wait_for_nodes()
        print(made.address, flush=True)
        for line in sys.stdin:
            command, number = line.split()
            if command == "kill":
                made.remove_node(nodes[int(number)], allow_graceful=False)
            else:
                nodes[int(number)] = made.add_node(num_cpus=cpus[int(number)], **common)
            print(line, end="", flush=True)
        made.shutdown()


if __name__ == "__main__":
    main([int(number) for number in sys.argv[1:]])
