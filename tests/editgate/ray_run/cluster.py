"""Starts a Ray on this machine or joins one, and refuses a cluster that cannot do the run."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from editgate.errors import ConfigError
from editgate.pytest_run.signals import ENDING
from editgate.ray_run.request import AUTO, Request, Share

CONNECTS, ANSWERS = 4.0, 5.0  # seconds until an address, and whoever takes connections there, counts as dead
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # of HTTP/2, with empty settings
SETTINGS = 4  # the kind of frame that the other side begins with
OBJECTS = 200 * 10**6  # bytes of memory for what workers and this process send one another
ALLOWED = "Allowed: the address of a running cluster, or --ray alone for one on this machine"
HOME = os.environ.get("RAY_TMPDIR") or "/tmp"  # noqa: S108 - sockets need a short path


@contextmanager
def connected(request: Request) -> Iterator[None]:
    """Be connected to Ray inside the block; one that was started here is gone afterwards.

    Raises:
        ConfigError: nobody answers, this machine is no part of that cluster, or no node has room for a worker.
    """
    import ray  # noqa: PLC0415 - a second, which only a run with it pays

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
    folder = ""
    if request.joins:
        address = _answering(request.address)
        del quiet["include_dashboard"]
        where: dict[str, Any] = {"address": address, "namespace": "editgate"}
    else:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.makedirs(HOME, exist_ok=True)  # noqa: PTH103 - as its owner wants it
        folder = tempfile.mkdtemp(prefix="editgate-", dir=HOME)
        where = {"_temp_dir": folder, "num_cpus": len(os.sched_getaffinity(0)), "object_store_memory": OBJECTS}
    try:
        with _signals_kept():
            try:
                ray.init(**where, **quiet)
            except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
                said = " ".join(str(error).split())
                raise ConfigError(f"--ray {request.address}: cannot be used ({said}). {ALLOWED}.") from error
        check_nodes([node for node in ray.nodes() if node["Alive"]], request)
        yield
    finally:
        with _ending_later():
            ray.shutdown()
            if folder:
                shutil.rmtree(folder, ignore_errors=True)


def check_nodes(nodes: Sequence[Mapping[str, Any]], request: Request) -> None:
    """Refuse a cluster in which no node has room for a worker.

    Args:
        nodes: as `ray.nodes()` describes those that are alive.
        request: what a worker takes.

    Raises:
        ConfigError: says what there is.
    """
    if slots(nodes, request.share):
        return
    share = request.share
    told = "; ".join(f"{node['NodeManagerHostname']} has {_told(node['Resources'])}" for node in nodes[:3])
    more = f"; and {len(nodes) - 3} more nodes" if len(nodes) > 3 else ""
    raise ConfigError(
        f"--ray {request.address}: a worker takes {share}, and no node has that ({told}{more}). Allowed: a cluster "
        "that has, less for each worker by --ray-worker, or another --device."
    )


def slots(nodes: Sequence[Mapping[str, Any]], share: Share) -> int:
    """Return how many workers the nodes have room for together, if nobody else is there."""
    return sum(share.fit_into(node["Resources"]) for node in nodes)


def _told(there: Mapping[str, float]) -> str:
    return str(Share(there.get("CPU", 0.0), there.get("GPU", 0.0), int(there.get("memory", 0))))


def _answering(address: str) -> str:
    """Return HOST:PORT of a cluster that answers as Ray's protocol begins; Ray itself tries a dead address for minutes.

    Raises:
        ConfigError: nobody answers there, or not as Ray.
    """
    found = _found_here() if address == AUTO else address
    shown = f"--ray {address}" if found == address else f"--ray {address} ({found})"
    host, _, port = found.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECTS) as there:
            there.settimeout(ANSWERS)
            there.sendall(GREETING)
            answer = there.recv(9)
    except TimeoutError as error:
        raise ConfigError(f"{shown}: nobody answers there in time. {ALLOWED}.") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{shown}: nobody answers there ({error}). {ALLOWED}.") from error
    if answer[3:4] != bytes((SETTINGS,)):
        raise ConfigError(f"{shown}: what answers there is no Ray. {ALLOWED}.")
    return found


def _found_here() -> str:
    """Return the address of the cluster that this machine is part of.

    Raises:
        ConfigError: there is none.
    """
    from ray._private import services  # noqa: PLC0415 - as in `connected`

    try:
        found = services.canonicalize_bootstrap_address_or_die(AUTO)
    except (ConnectionError, ValueError) as error:
        raise ConfigError(
            f"--ray {AUTO}: no Ray runs on this machine, and RAY_ADDRESS names none. {ALLOWED}."
        ) from error
    return str(found)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray sets a handler for SIGTERM that ends the process without a report."""
    before = {}
    with suppress(ValueError):  # not the main thread: then neither can
        before = {number: signal.signal(number, signal.getsignal(number)) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _ending_later() -> Iterator[None]:
    """Let a second Ctrl-C not leave processes behind."""
    before = {}
    with suppress(ValueError):
        before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
