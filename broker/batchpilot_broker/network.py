"""Where a broker of ours may listen besides its socket: addresses of this host, and a free port.

Only an address that was asked for, or one of a private network (RFC 1918), is ever listened on.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from .errors import BrokerUnavailable


PORTS = range(16000, 17000)
"""Ports that are tried, unless BATCHPILOT_BROKER_PORTS names others, as "20000-20099"."""

_PRIVATE = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
_TAKEN = frozenset((errno.EADDRINUSE, errno.EACCES))


def chosen_addresses() -> tuple[str, ...]:
    """Return the addresses to listen on for other hosts.

    They are those that BATCHPILOT_BROKER_LISTEN names (addresses or interfaces, with commas
    between), else the private ones of this host.

    Raises:
        BrokerUnavailable: There is none.
    """
    named = os.environ.get("BATCHPILOT_BROKER_LISTEN", "")
    found = _addresses()
    if not named:
        private = [a for each in found.values() for a in each if _is_private(a)]
        chosen = tuple(dict.fromkeys(private))
    else:
        words = [word.strip() for word in named.split(",") if word.strip()]
        chosen = tuple(address for word in words for address in found.get(word, [word]))
    if not chosen:
        raise BrokerUnavailable(
            "this host has no private address at which other hosts could reach the broker",
            remedy="name an address or interface in BATCHPILOT_BROKER_LISTEN, or a broker of your "
            "own in BATCHPILOT_BROKER_URL",
        )
    return chosen


def chosen_ports() -> range:
    """Return the ports to try.

    Raises:
        BrokerUnavailable: BATCHPILOT_BROKER_PORTS is no range.
    """
    text = os.environ.get("BATCHPILOT_BROKER_PORTS", "")
    if not text:
        return PORTS
    first, _, last = text.partition("-")
    if not (first.isdigit() and (last or first).isdigit()):
        raise BrokerUnavailable(
            f"BATCHPILOT_BROKER_PORTS={text!r} is no range of ports", remedy="write 20000-20099"
        )
    return range(int(first), int(last or first) + 1)


def free_port(hosts: Sequence[str], ports: range) -> int:
    """Return the first port that is free at all of some addresses.

    Raises:
        BrokerUnavailable: None is, or an address is none of this host's.
    """
    for port in ports:
        if all(_is_free(host, port) for host in hosts):
            return port
    raise BrokerUnavailable(
        f"no port of {ports.start}-{ports.stop - 1} is free at {', '.join(hosts)}",
        remedy="name others in BATCHPILOT_BROKER_PORTS",
    )


def can_listen(places: Sequence[tuple[str, int]]) -> bool:
    """Tell whether these addresses are this host's, and the ports free at them."""
    try:
        return all(_is_free(host, port) for host, port in places)
    except BrokerUnavailable:
        return False


def tcp_places(urls: Sequence[str]) -> list[tuple[str, int]]:
    """Return host and port of each address that is no socket.

    Example:
        >>> tcp_places(["unix:///x", "redis://10.0.0.1:16000"])
        [('10.0.0.1', 16000)]
    """
    parts = [urlsplit(url) for url in urls]
    return [(p.hostname or "", p.port or 6379) for p in parts if p.scheme != "unix"]


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            raise BrokerUnavailable(
                f"the broker cannot listen at {host}: {error.strerror or error}",
                remedy="correct BATCHPILOT_BROKER_LISTEN",
            ) from error
    return True


def _addresses() -> dict[str, list[str]]:
    """Return the IPv4 addresses of each interface."""
    import psutil  # noqa: PLC0415 - slow, and only needed where a broker is opened

    return {
        name: [a.address for a in addresses if a.family == socket.AF_INET]
        for name, addresses in psutil.net_if_addrs().items()
    }


def _is_private(text: str) -> bool:
    return any(ipaddress.ip_address(text) in network for network in _PRIVATE)
