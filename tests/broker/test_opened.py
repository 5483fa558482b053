"""A broker that other hosts reach: where it is opened, and where it comes back."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.broker.conftest import Place, clear, new_registry
from tests.broker.test_server import asked
from tests.conftest import wait_until

from batchpilot_broker.access import Access, read_access
from batchpilot_broker.accounts import RECORD, for_agents
from batchpilot_broker.binaries import find_server
from batchpilot_broker.connect import connect
from batchpilot_broker.errors import BrokerRefused, BrokerUnavailable
from batchpilot_broker.host import is_alive
from batchpilot_broker.network import tcp_places
from batchpilot_broker.server import (
    ensure_server,
    open_to_network,
    start_server,
    stop_server,
)


FIRST = 10000 + os.getpid() % 50 * 100  # below those of other tests; another run has its own
PORTS = range(FIRST, FIRST + 100)
FASTER = """#!{python}
import os, re, signal, socket, sys
from pathlib import Path
conf = Path(sys.argv[-1])
port = conf.suffix == ".conf" and re.search(r"(?m)^port (\\d+)", conf.read_text())
if port and not Path("{pid}").exists():
    listening = socket.create_server(("127.0.0.1", int(port[1])))
    child = os.fork()
    if not child:
        signal.pause()
    Path("{pid}").write_text(str(child))
os.execv("{real}", ["{real}", *sys.argv[1:]])
"""
"""A server at whose port somebody else listens when it first comes."""


@pytest.fixture(autouse=True)
def ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take ports that no other test takes between two looks."""
    monkeypatch.setenv("BATCHPILOT_BROKER_PORTS", f"{PORTS[0]}-{PORTS[-1]}")


def lost(access: Access) -> None:
    """Let the server be gone, as after a restart of the machine."""
    os.kill(access.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(access.pid, access.pid_start))


@pytest.fixture
def rival(tmp_path: Path) -> Iterator[Place]:
    """Another user's registry on this host."""
    place = Place(new_registry(tmp_path / "rival"), f"test{secrets.token_hex(6)}")
    yield place
    access = read_access(place.paths)
    assert access is not None
    stop_server(place.paths, access, discard=True)
    clear(place.instance)


def test_a_broker_opened_to_the_network_keeps_data_and_generation_and_asks_for_a_password(
    place: Place,
) -> None:
    access = start_server(place.paths, place.instance, generation=0)
    asked(access, "SET", "bp:kept", "1")

    opened = open_to_network(place.paths, place.instance, ["127.0.0.1"], PORTS)

    ((host, port),) = tcp_places(opened.urls)
    over_tcp = replace(opened, urls=(f"redis://{host}:{port}",))
    assert asked(over_tcp, "GET", "bp:kept") == b"1"
    assert opened.generation == access.generation
    assert read_access(place.paths) == for_agents(opened)
    with pytest.raises(BrokerRefused):
        connect(replace(over_tcp, password=access.password[::-1]))
    assert open_to_network(place.paths, place.instance).urls == opened.urls


def test_a_broker_that_was_opened_comes_back_where_it_was(place: Place) -> None:
    start_server(place.paths, place.instance, generation=0)
    opened = open_to_network(place.paths, place.instance, ["127.0.0.1"], PORTS)
    lost(opened)

    again = ensure_server(place.paths, place.instance)

    assert again.urls == opened.urls
    assert again.pid != opened.pid


def test_an_address_that_is_none_of_this_host_leaves_the_broker_as_it_was(place: Place) -> None:
    access = start_server(place.paths, place.instance, generation=0)

    with pytest.raises(BrokerUnavailable, match=r"cannot listen at 192\.0\.2\.1"):
        open_to_network(place.paths, place.instance, ["192.0.2.1"])

    assert is_alive(access.pid, access.pid_start)
    assert read_access(place.paths) == for_agents(access)


def test_where_a_rival_has_taken_its_port_it_comes_back_at_another_one_with_its_data(
    place: Place, rival: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHPILOT_BROKER_LISTEN", "127.0.0.1")
    start_server(place.paths, place.instance, generation=0)
    opened = open_to_network(place.paths, place.instance)
    asked(opened, "SET", "bp:kept", "1")
    stop_server(place.paths, opened)
    ((_, port),) = tcp_places(opened.urls)

    start_server(rival.paths, rival.instance, generation=0)
    open_to_network(rival.paths, rival.instance, ports=range(port, port + 1))
    again = ensure_server(place.paths, place.instance)

    ((host, other),) = tcp_places(again.urls)
    assert host == "127.0.0.1"
    assert other != port
    assert asked(again, "GET", "bp:kept") == b"1"
    assert again.generation == opened.generation


def test_where_a_stranger_answers_at_its_port_it_comes_back_at_another_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHPILOT_BROKER_LISTEN", "127.0.0.1")
    start_server(place.paths, place.instance, generation=0)
    opened = open_to_network(place.paths, place.instance)
    stop_server(place.paths, opened)
    ((host, port),) = tcp_places(opened.urls)
    serving = HTTPServer((host, port), BaseHTTPRequestHandler)
    with serving, ThreadPoolExecutor(1) as thread:
        thread.submit(serving.serve_forever)
        try:
            again = ensure_server(place.paths, place.instance)
        finally:
            serving.shutdown()

    assert tcp_places(again.urls)[0][1] != port


def test_where_somebody_is_faster_at_the_port_it_had_chosen_it_comes_back_at_another_one(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_server(place.paths, place.instance, generation=0)
    opened = open_to_network(place.paths, place.instance, ["127.0.0.1"], PORTS)
    asked(opened, "SET", "bp:kept", "1")
    stop_server(place.paths, opened)
    binary, pid = tmp_path / "server", tmp_path / "pid"
    binary.write_text(FASTER.format(python=sys.executable, real=find_server().path, pid=pid))
    binary.chmod(0o700)
    monkeypatch.setenv("BATCHPILOT_BROKER_BIN", str(binary))
    monkeypatch.setenv("BATCHPILOT_BROKER_LISTEN", "127.0.0.1")

    again = ensure_server(place.paths, place.instance)
    os.kill(int(pid.read_text()), signal.SIGKILL)

    assert tcp_places(again.urls)[0][1] != tcp_places(opened.urls)[0][1]
    assert asked(again, "GET", "bp:kept") == b"1"
    assert again.generation == opened.generation


@pytest.mark.parametrize(("now", "there"), [("127.0.0.1", 1), ("192.0.2.1", 0)])
def test_where_its_address_is_gone_it_comes_back_at_those_of_now_or_on_its_socket_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch, now: str, there: int
) -> None:
    monkeypatch.setenv("BATCHPILOT_BROKER_LISTEN", now)
    lost(start_server(place.paths, place.instance, generation=0))
    record = json.loads((place.home / RECORD).read_text())
    record["urls"].append("redis://192.0.2.7:20000")
    (place.home / RECORD).write_text(json.dumps(record))

    again = ensure_server(place.paths, place.instance)

    assert [host for host, _ in tcp_places(again.urls)] == [now] * there
    assert asked(again, "PING")


def test_of_two_that_are_opened_at_once_none_fails(place: Place, rival: Place) -> None:
    both = (place, rival)
    for each in both:
        start_server(each.paths, each.instance, generation=0)
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(
            lambda each: open_to_network(each.paths, each.instance, ["127.0.0.1"], PORTS), both
        )

    assert tcp_places(first.urls) != tcp_places(second.urls)
