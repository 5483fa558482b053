"""What went wrong with a broker is said in words, with a remedy."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchpilot_broker.access import public_url, write_access
from batchpilot_broker.agentside import AgentBroker
from batchpilot_broker.connect import check_version, connect, is_new_enough, translated
from batchpilot_broker.errors import (
    BrokerError,
    BrokerFull,
    BrokerRefused,
    BrokerUnavailable,
    StorageError,
)


if TYPE_CHECKING:
    from tests.broker.conftest import Bench

WRONG = "not the broker's password"


def test_a_wrong_password_is_refused_with_a_remedy(bench: Bench) -> None:
    write_access(bench.paths, replace(bench.access, password=WRONG))

    with pytest.raises(BrokerRefused, match=r"refused the password.*see broker\.json") as refused:
        AgentBroker.open(bench.paths, bench.instance)

    assert refused.value.exit_code == 69
    assert bench.access.password not in str(refused.value)


def test_no_password_is_refused(bench: Bench) -> None:
    with pytest.raises(BrokerRefused):
        connect(replace(bench.access, password=""))


def test_the_next_candidate_is_tried(bench: Bench) -> None:
    urls = ("unix:///nowhere.sock", "redis://127.0.0.1:1/0", *bench.access.urls)

    client = connect(replace(bench.access, urls=urls))

    assert check_version(client).split()[0] in ("Valkey", "Redis")
    client.close()


def test_each_candidate_that_fails_is_named_with_its_reason(bench: Bench) -> None:
    access = replace(bench.access, urls=("unix:///nowhere.sock", "redis://127.0.0.1:1/0"))

    with pytest.raises(BrokerUnavailable) as error:
        connect(access)

    assert "nowhere.sock" in error.value.message
    assert "127.0.0.1:1" in error.value.message
    assert "refused" in error.value.message
    assert error.value.exit_code == 69


def test_a_refused_password_outweighs_silence(bench: Bench) -> None:
    urls = (*bench.access.urls, "unix:///nowhere.sock")

    with pytest.raises(BrokerRefused, match="nowhere"):
        connect(replace(bench.access, urls=urls, password=WRONG))


def test_a_record_without_addresses_is_unavailable(bench: Bench) -> None:
    with pytest.raises(BrokerUnavailable, match="names no address"):
        connect(replace(bench.access, urls=()))


def test_the_password_is_shown_nowhere(bench: Bench) -> None:
    access = replace(bench.access, urls=("redis://user:hunter2@h:1/0?password=hunter2",))

    assert bench.access.password not in repr(bench.access)
    assert public_url(access) == "redis://h:1/0"


def test_a_full_broker_is_told_as_such_and_nothing_moves(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    coordinator.feed([bench.chunk(1), bench.chunk(2)])
    agent.claim("a1", [(bench.CLASS, 0)])
    bench.client.config_set("maxmemory", "1")
    try:
        with pytest.raises(BrokerFull, match="memory limit"):
            agent.claim("a1", [(bench.CLASS, 0)])
        with pytest.raises(BrokerFull):
            coordinator.feed([bench.chunk(3)])
        with pytest.raises(BrokerFull):
            agent.send("hello", agent="a1", generation=1, held=[])
        agent.finish("a1", 1, jobs=1, seconds=1.0)
    finally:
        bench.client.config_set("maxmemory", "0")

    assert coordinator.leases() == {}
    assert coordinator.queued(bench.CLASS) == [2]


def test_a_user_without_rights_is_refused(bench: Bench) -> None:
    bench.client.acl_setuser(
        "weak", enabled=True, passwords=[f"+{WRONG}"], commands=["+ping", "+info"], keys=["*"]
    )
    client = connect(replace(bench.access, username="weak", password=WRONG))
    with pytest.raises(BrokerRefused, match="its ACL must allow"), translated(bench.access):
        client.get("x")
    client.close()
    bench.client.acl_deluser("weak")


def test_any_other_answer_is_a_broker_error(bench: Bench) -> None:
    bench.client.set(bench.keys.leases, "no hash")

    with pytest.raises(BrokerError, match="WRONGTYPE"):
        bench.coordinator().leases()


@pytest.mark.parametrize(
    ("kind", "version", "enough"),
    [
        ("Redis", "6.0.16", False),
        ("Redis", "6.2.0", True),
        ("Redis", "10.0", True),
        ("Valkey", "7.2.4", True),
        ("Valkey", "7.1", False),
    ],
)
def test_the_floor_is_redis_6_2_and_valkey_7_2(kind: str, version: str, *, enough: bool) -> None:
    assert is_new_enough(kind, version) is enough


@pytest.mark.parametrize("record", [b"{}", b"[]", b"{", b'{"urls": 3}'])
def test_a_damaged_record_is_told_with_a_remedy(bench: Bench, record: bytes) -> None:
    bench.paths.broker.write_bytes(record)

    with pytest.raises(StorageError) as error:
        AgentBroker.open(bench.paths, bench.instance)

    assert error.value.remedy


@pytest.mark.parametrize("secret", [b"", b"x" * 31, None])
def test_a_damaged_secret_is_told_with_a_remedy(bench: Bench, secret: bytes | None) -> None:
    bench.paths.secret.unlink()
    if secret is not None:
        bench.paths.secret.write_bytes(secret)

    with pytest.raises(StorageError, match="secret"):
        AgentBroker.open(bench.paths, bench.instance)


def test_the_agents_side_loads_neither_rq_nor_redis_nor_anything_heavy() -> None:
    heavy = {"redis", "rq", "numpy", "pandas", "sqlite3", "batchpilot", "asyncio", "ssl"}
    code = (
        "import sys, batchpilot_broker.agentside, batchpilot_broker.clientside; print(*sys.modules)"
    )

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert heavy.isdisjoint(told.stdout.split())


def test_an_agent_at_work_has_not_loaded_rq(bench: Bench) -> None:
    code = """
import sys
from pathlib import Path
from batchpilot_broker.agentside import AgentBroker
from batchpilot_broker.paths import RegistryPaths
agent = AgentBroker.open(RegistryPaths(Path(sys.argv[1])), sys.argv[2])
agent.claim("a1", [("00c0ffee0000", 0)])
agent.close()
print(*sys.modules)
"""
    told = subprocess.run(
        [sys.executable, "-c", code, str(bench.paths.root), bench.instance],
        capture_output=True,
        text=True,
        check=True,
    )

    assert {"rq", "numpy", "pandas", "sqlite3", "batchpilot"}.isdisjoint(told.stdout.split())
