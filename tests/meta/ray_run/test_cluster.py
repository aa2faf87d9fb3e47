"""A cluster that cannot do the run is refused in one line, in at most ten seconds."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from editgate.errors import ConfigError
from editgate.ray_run import cluster
from editgate.ray_run.request import Request, Share
from meta.support.gate import run_gate

SECONDS = 10.0
with_ray = pytest.mark.usefixtures("ray_installed")


@pytest.fixture
def ray_installed() -> None:
    """Skip where there is no Ray."""
    pytest.importorskip("ray", reason="ray is not installed: editgate[ray]")


@pytest.fixture
def listening() -> Iterator[str]:
    """The address of somebody who takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def dead() -> str:
    """An address where nobody is."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("host", ["", "host.invalid:6379"], ids=["dead", "unknown"])
def test_an_address_where_nobody_answers_is_refused(dead: str, host: str) -> None:
    """It names the address."""
    address = host or dead
    began = time.monotonic()
    with pytest.raises(ConfigError, match=f"--ray {address}: nobody answers there") as caught:
        cluster._answering(address)
    assert time.monotonic() - began < SECONDS
    assert "\n" not in str(caught.value)


def test_a_port_that_never_answers_is_refused(listening: str) -> None:
    """Ray itself would try for two minutes."""
    began = time.monotonic()
    with pytest.raises(ConfigError, match="nobody answers there in time"):
        cluster._answering(listening)
    assert time.monotonic() - began < SECONDS


def test_a_port_that_is_not_rays_is_refused() -> None:
    """Such as one of a web server."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConfigError, match="what answers there is no Ray"):
            cluster._answering(f"127.0.0.1:{server.getsockname()[1]}")
        thread.join()


@with_ray
def test_no_cluster_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` says so where none runs."""
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", set)
    monkeypatch.setattr("ray._private.services.find_bootstrap_address", lambda _: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ConfigError, match="no Ray runs on this machine"):
        cluster._answering("auto")


@with_ray
def test_the_command_line_refuses_a_dead_address_before_it_collects(pytester: pytest.Pytester, dead: str) -> None:
    """Exit code 4 and the line."""
    result = run_gate(pytester, f"--ray={dead}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"--ray {dead}: nobody answers there" in "\n".join(result.errlines)


def test_a_cluster_without_the_device_is_refused() -> None:
    """The line says what a worker takes, what nodes have, and how many more there are."""
    nodes = [{"NodeManagerHostname": f"n{number}", "Resources": {"CPU": 8.0, "memory": 16e9}} for number in range(5)]
    wanted = Request("head:6379", Share(1, 1, 10**9))
    with pytest.raises(ConfigError) as caught:
        cluster.check_nodes(nodes, wanted)
    said = str(caught.value)
    assert "a worker takes cpus=1,gpus=1,memory=1.0GB" in said
    assert "n0 has cpus=8,gpus=0,memory=16.0GB" in said
    assert "and 2 more nodes" in said
    assert "\n" not in said
    nodes[3]["Resources"] = {"CPU": 8.0, "GPU": 2.0, "memory": 16e9}
    cluster.check_nodes(nodes, wanted)
    assert cluster.slots(nodes, wanted.share) == 2
