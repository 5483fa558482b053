"""Where a broker of ours listens for other hosts."""

from __future__ import annotations

import socket

import psutil
import pytest

from batchpilot_broker.errors import BrokerUnavailable
from batchpilot_broker.network import (
    PORTS,
    chosen_addresses,
    chosen_ports,
    free_port,
    tcp_places,
)


def test_an_interface_stands_for_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHPILOT_BROKER_LISTEN", "lo, 10.1.2.3")

    assert chosen_addresses() == ("127.0.0.1", "10.1.2.3")


def test_no_public_and_no_loopback_address_is_chosen_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("BATCHPILOT_BROKER_LISTEN", raising=False)
    private = ("10.", "172.", "192.168.")
    found = [a.address for each in psutil.net_if_addrs().values() for a in each]
    if not any(address.startswith(private) for address in found):
        with pytest.raises(BrokerUnavailable, match="no private address"):
            chosen_addresses()
        return

    assert all(address.startswith(private) for address in chosen_addresses())


@pytest.mark.parametrize(
    ("text", "ports"), [("", PORTS), ("7000", range(7000, 7001)), ("7-9", range(7, 10))]
)
def test_ports_are_a_range_or_one(monkeypatch: pytest.MonkeyPatch, text: str, ports: range) -> None:
    monkeypatch.setenv("BATCHPILOT_BROKER_PORTS", text)

    assert chosen_ports() == ports


@pytest.mark.parametrize("text", ["x", "1-y", "-3"])
def test_what_is_no_range_of_ports_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("BATCHPILOT_BROKER_PORTS", text)

    with pytest.raises(BrokerUnavailable, match="no range of ports"):
        chosen_ports()


def test_a_port_that_is_taken_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert free_port(["127.0.0.1"], range(port, port + 50)) > port
        with pytest.raises(BrokerUnavailable, match=f"no port of {port}-{port} is free"):
            free_port(["127.0.0.1"], range(port, port + 1))


def test_sockets_are_no_places_of_the_network() -> None:
    assert tcp_places(["unix:///x/y.sock", "redis://h:1"]) == [("h", 1)]
