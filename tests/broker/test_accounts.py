"""Agents' account on a server of ours: what they need and nothing else; no way to the other one."""

from __future__ import annotations

import os
import stat
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis.exceptions import ResponseError
from tests.conftest import AsNobody

from batchpilot_broker.access import read_access
from batchpilot_broker.accounts import AGENTS, COORDINATOR, RECORD, for_agents, read_office
from batchpilot_broker.connect import connect
from batchpilot_broker.coordside import CoordinatorBroker
from batchpilot_broker.errors import BrokerRefused
from batchpilot_broker.host import is_alive
from batchpilot_broker.server import ensure_server


if TYPE_CHECKING:
    from tests.broker.conftest import Bench, Place

REFUSED = r"(?i)can't run this command|access|permission|not allowed"
FORBIDDEN = (
    "FLUSHALL", "FLUSHDB", "CONFIG GET requirepass", "CONFIG SET maxmemory 1", "DEBUG JMAP",
    "MODULE LIST", "ACL LIST", "ACL SETUSER agents +@all", "SHUTDOWN NOSAVE", "MONITOR",
    "REPLICAOF 127.0.0.1 1", "SCRIPT FLUSH", "CLIENT LIST", "CLIENT KILL TYPE normal", "SAVE",
    "BGREWRITEAOF", "KEYS *", "SCAN 0", "RANDOMKEY", "SUBSCRIBE x", "PUBLISH x y", "SWAPDB 0 1",
    "SET bp:i:generation 9", "RENAME bp:i:leases bp:i:x", "DUMP bp:i:leases", "SORT bp:i:leases",
    "GET bp:i:term", "DEL bp:i:term", "HGET elsewhere x", "MIGRATE h 1 k 0 1", "SLOWLOG GET",
)  # fmt: skip


def test_agents_may_do_nothing_that_they_do_not_need(bench: Bench) -> None:
    with closing(connect(for_agents(bench.access))) as client:
        for words in FORBIDDEN:
            with pytest.raises(ResponseError, match=REFUSED):
                client.execute_command(*words.split())  # type: ignore[no-untyped-call]  # so in redis


def test_a_script_gives_agents_no_more_rights(bench: Bench) -> None:
    with closing(connect(for_agents(bench.access))) as client:
        for words in ("FLUSHALL", "GET bp:i:term", "CONFIG GET dir", "SET bp:i:events x"):
            called = ",".join(f"'{word}'" for word in words.split())
            with pytest.raises(ResponseError, match=REFUSED):
                client.eval(f"return redis.call({called})", 0)


def test_agents_cannot_depose_a_coordinator(bench: Bench) -> None:
    coordinator = bench.coordinator(3)
    agents = CoordinatorBroker(
        for_agents(bench.access), bench.paths.secret.read_bytes(), bench.instance
    )
    with closing(agents), pytest.raises(BrokerRefused, match="its ACL must allow"):
        agents.take(9)

    coordinator.take(3)


def test_without_an_account_nobody_is_let_in(bench: Bench) -> None:
    for nobody in (
        replace(bench.access, username="", password=""),
        replace(bench.access, username="", password=bench.access.password),
        replace(bench.access, username=AGENTS, password=bench.access.password),
        replace(for_agents(bench.access), username=COORDINATOR),
        replace(bench.access, password="wrong"),  # noqa: S106 - what is tested
    ):
        with pytest.raises(BrokerRefused, match="refused"):
            connect(nobody)


def test_each_account_stands_in_its_own_file_and_the_server_knows_hashes(place: Place) -> None:
    access = ensure_server(place.paths, place.instance)
    told = read_access(place.paths)

    assert told == for_agents(access)
    assert (access.username, told.username) == (COORDINATOR, AGENTS)
    assert read_office(place.paths, place.instance) == access
    agents, coordinator = told.password.encode(), access.password.encode()
    shared = [p.read_bytes() for p in place.paths.root.rglob("*") if p.is_file()]
    local = {p.name: p.read_bytes() for p in place.home.rglob("*") if p.is_file()}
    assert not any(coordinator in text for text in shared)
    assert [name for name, text in local.items() if coordinator in text] == [RECORD]
    assert not any(agents in text for text in local.values())


def open_in(pid: int) -> set[str]:
    """Return what a process has open."""
    held = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            held.add(os.readlink(fd))  # noqa: PTH115 - names no file
    return held


def test_a_server_of_ours_listens_on_a_socket_of_its_user_and_no_port(place: Place) -> None:
    access = ensure_server(place.paths, place.instance)
    held = open_in(access.pid)
    tcp = Path(f"/proc/{access.pid}/net/tcp").read_text() + Path(
        f"/proc/{access.pid}/net/tcp6"
    ).read_text().replace("sl", "")
    listening = {line.split()[9] for line in tcp.splitlines()[1:] if " 0A " in line}

    assert not {f"socket:[{inode}]" for inode in listening} & held
    socket = Path(access.urls[0].removeprefix("unix://"))
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700


def test_a_lost_password_of_the_coordinator_is_replaced_and_the_data_stay(place: Place) -> None:
    first = ensure_server(place.paths, place.instance)
    with closing(connect(first)) as client:
        client.set(f"bp:{place.instance}:x", "kept")
    (place.home / RECORD).unlink()

    second = ensure_server(place.paths, place.instance)

    assert not is_alive(first.pid, first.pid_start)
    assert second.password != first.password
    assert second.generation == first.generation
    with closing(connect(second)) as client:
        assert client.get(f"bp:{place.instance}:x") == b"kept"
    with pytest.raises(BrokerRefused):
        connect(replace(second, password=first.password))


@pytest.mark.parametrize("record", [b"", b"\xff\xfe", b"[1]", b'{"urls": 5}'])
def test_a_damaged_record_in_the_registry_is_written_anew(place: Place, record: bytes) -> None:
    first = ensure_server(place.paths, place.instance)
    place.paths.broker.write_bytes(record)

    assert ensure_server(place.paths, place.instance) == first
    assert read_access(place.paths) == for_agents(first)


def test_another_user_reads_nothing(place: Place, as_nobody: AsNobody) -> None:
    access = ensure_server(place.paths, place.instance)
    socket = access.urls[0].removeprefix("unix://")
    for path in (place.paths.secret, place.paths.broker, place.home / RECORD, place.home):
        assert as_nobody("ls", path.parent).returncode
        assert as_nobody("cat", path).returncode
    code = f"import socket; socket.socket(socket.AF_UNIX).connect({socket!r})"

    assert "Permission" in as_nobody("python3", "-c", code).stderr
