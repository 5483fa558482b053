"""The broker's life: found, started, found again, killed, robbed of its data, ended."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchpilot_broker import binaries
from batchpilot_broker.access import Access, read_access, write_access
from batchpilot_broker.accounts import for_agents
from batchpilot_broker.agentside import AgentBroker
from batchpilot_broker.connect import connect
from batchpilot_broker.errors import BrokerUnavailable
from batchpilot_broker.host import is_alive, process_start
from batchpilot_broker.keys import Keys
from batchpilot_broker.server import (
    ensure_server,
    start_server,
    stop_server,
)


if TYPE_CHECKING:
    from tests.broker.conftest import Place

BROKER_ROOT = Path(binaries.__file__).parents[1]


def asked(access: Access, command: str, *words: str) -> Any:
    client = connect(access)
    try:
        return client.execute_command(command, *words)  # type: ignore[no-untyped-call]  # so in redis
    finally:
        client.close()


def end(access: Access, number: signal.Signals = signal.SIGKILL) -> None:
    os.kill(access.pid, number)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_started_server_keeps_its_promises(place: Place) -> None:
    access = start_server(place.paths, place.instance, generation=0)

    assert read_access(place.paths) == for_agents(access)
    assert (access.generation, access.external) == (1, False)
    assert len(access.password) == 64
    assert [mode(p) for p in (place.home, place.paths.broker)] == [0o700, 0o600]
    assert {mode(place.home / f"broker.{s}") for s in ("conf", "sock", "json")} == {0o600}
    settings = {
        name: asked(access, "CONFIG", "GET", name)[1].decode()
        for name in ("port", "appendonly", "appendfsync", "save", "maxmemory-policy")
    }
    assert settings == {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }


def test_a_started_server_is_nobodys_child_and_knows_no_terminal(place: Place) -> None:
    access = start_server(place.paths, place.instance, generation=0)
    proc = Path(f"/proc/{access.pid}")
    parent = int((proc / "stat").read_text().rpartition(")")[2].split()[1])

    assert parent != os.getpid()
    assert os.getsid(access.pid) != os.getsid(0)
    assert {str((proc / "fd" / str(n)).readlink()) for n in range(3)} == {"/dev/null"}


def test_the_password_stands_in_no_argument_environment_or_log(place: Place) -> None:
    access = start_server(place.paths, place.instance, generation=0)
    proc = Path(f"/proc/{access.pid}")
    seen = (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()

    assert access.password.encode() not in seen + Path(access.log).read_bytes()


def test_a_server_that_answers_is_used_again(place: Place) -> None:
    first = ensure_server(place.paths, place.instance)

    assert ensure_server(place.paths, place.instance) == first


def test_a_server_is_found_again_without_the_registrys_record(place: Place) -> None:
    first = ensure_server(place.paths, place.instance)
    place.paths.broker.unlink()

    assert ensure_server(place.paths, place.instance) == first
    assert read_access(place.paths) == for_agents(first)


def test_a_server_whose_start_was_cut_short_is_taken_over(place: Place) -> None:
    access = ensure_server(place.paths, place.instance)
    place.paths.broker.unlink()
    record = json.loads((place.home / "broker.json").read_text())
    (place.home / "broker.json").write_text(json.dumps({**record, "pid": 0, "pid_start": 0}))

    assert ensure_server(place.paths, place.instance) == access


def test_a_killed_server_comes_back_with_its_data_and_generation(
    place: Place, until: Callable[[Callable[[], object]], None]
) -> None:
    first = ensure_server(place.paths, place.instance)
    asked(first, "SET", f"bp:{place.instance}:x", "kept")
    aof = list(place.home.rglob("*.aof"))
    until(lambda: any(b"kept" in p.read_bytes() for p in aof))
    end(first)
    until(lambda: not is_alive(first.pid, first.pid_start))

    second = ensure_server(place.paths, place.instance)

    assert second.pid != first.pid
    assert (second.generation, second.password) == (first.generation, first.password)
    assert asked(second, "GET", f"bp:{place.instance}:x") == b"kept"


def test_what_a_script_has_written_is_read_back_though_nobody_is_the_default_user(
    place: Place,
) -> None:
    access = start_server(place.paths, place.instance, generation=0)
    script = "redis.call('SET', 'bp:a', 1) return redis.call('SET', 'bp:b', 2)"
    asked(access, "EVAL", script, "0")  # two writes are one transaction in the log
    stop_server(place.paths, access)

    again = ensure_server(place.paths, place.instance)

    assert asked(again, "MGET", "bp:a", "bp:b") == [b"1", b"2"]


def test_a_server_that_lost_its_data_is_a_new_generation(place: Place) -> None:
    first = ensure_server(place.paths, place.instance)
    assert stop_server(place.paths, first)
    for data in place.home.glob("appendonly*"):
        shutil.rmtree(data) if data.is_dir() else data.unlink()

    second = ensure_server(place.paths, place.instance)

    assert second.generation == first.generation + 1
    assert asked(second, "GET", Keys(place.instance).generation) == b"2"


def test_flushed_data_are_a_new_generation_of_the_same_server(place: Place) -> None:
    first = ensure_server(place.paths, place.instance)
    asked(first, "FLUSHALL")

    second = ensure_server(place.paths, place.instance)

    assert (second.pid, second.generation) == (first.pid, 2)
    assert read_access(place.paths) == for_agents(second)


def test_data_older_than_the_registry_knows_are_thrown_away(place: Place) -> None:
    first = ensure_server(place.paths, place.instance)
    asked(first, "HSET", Keys(place.instance).leases, "1", "ghost")
    stop_server(place.paths, first)
    write_access(place.paths, replace(first, generation=7))

    second = ensure_server(place.paths, place.instance)

    assert second.generation == 8
    assert asked(second, "EXISTS", Keys(place.instance).leases) == 0


def test_data_that_cannot_be_read_are_put_aside(place: Place) -> None:
    first = ensure_server(place.paths, place.instance)
    asked(first, "SET", "x", "y")
    stop_server(place.paths, first)
    log = max(place.home.rglob("*.aof"), key=lambda p: p.stat().st_mtime_ns)
    log.write_bytes(b"*3\r\n$3\r\nSET\r\n$nonsense\r\n" + log.read_bytes())

    second = ensure_server(place.paths, place.instance)

    assert second.generation == first.generation + 1
    assert list((place.home / "broken").iterdir())


def test_bits_flipped_in_its_log_cost_data_at_most(place: Place) -> None:
    moments = random.Random(1)  # noqa: S311 - no secret is made of it
    access = ensure_server(place.paths, place.instance)
    for number in range(5):
        for at in range(50):
            asked(access, "HSET", Keys(place.instance).leases, str(at), f"agent {number}")
        stop_server(place.paths, access)
        log = max(place.home.rglob("*.aof"), key=lambda p: p.stat().st_size)
        data = bytearray(log.read_bytes())
        for _ in range(3):
            data[moments.randrange(len(data))] ^= 1 << moments.randrange(8)
        log.write_bytes(data[: len(data) - moments.randrange(2) * 7])

        before, access = access, ensure_server(place.paths, place.instance)

        assert access.generation >= before.generation
        assert asked(access, "PING")


def test_sessions_that_start_at_once_start_one_server(place: Place) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from batchpilot_broker.paths import RegistryPaths\n"
        "from batchpilot_broker.server import ensure_server\n"
        "print(ensure_server(RegistryPaths(Path(sys.argv[1])), sys.argv[2]).pid)"
    )
    command = [sys.executable, "-c", code, str(place.paths.root), place.instance]

    sessions = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    pids = {session.communicate()[0] for session in sessions}

    assert len(pids) == 1
    assert int(pids.pop()) > 0


def test_a_server_that_lives_but_does_not_answer_gets_no_rival(place: Place) -> None:
    access = ensure_server(place.paths, place.instance)
    end(access, signal.SIGSTOP)
    try:
        with pytest.raises(BrokerUnavailable, match=rf"process {access.pid} lives"):
            ensure_server(place.paths, place.instance)
    finally:
        end(access, signal.SIGCONT)

    assert ensure_server(place.paths, place.instance) == access


def test_stopping_ends_the_server_and_keeps_what_a_restart_needs(place: Place) -> None:
    access = ensure_server(place.paths, place.instance)

    assert stop_server(place.paths, access)
    assert not is_alive(access.pid, access.pid_start)
    assert not stop_server(place.paths, access)
    assert read_access(place.paths) == for_agents(access)
    assert ensure_server(place.paths, place.instance).generation == access.generation


def test_discarding_leaves_nothing(place: Place) -> None:
    access = ensure_server(place.paths, place.instance)

    stop_server(place.paths, access, discard=True)

    assert not place.paths.broker.exists()
    assert not Path(access.log).parent.exists()


@pytest.mark.parametrize("change", ["pid_start", "boot", "host", "external"])
def test_a_process_that_is_not_ours_is_never_ended(place: Place, change: str) -> None:
    access = ensure_server(place.paths, place.instance)
    other = {"pid_start": 1, "boot": "another", "host": "another", "external": True}[change]

    assert not stop_server(place.paths, replace(access, **{change: other}))  # type: ignore[arg-type]  # by name
    assert process_start(access.pid) == access.pid_start


def test_a_server_of_another_host_that_does_not_answer_is_replaced(place: Place) -> None:
    first = ensure_server(place.paths, place.instance)
    stop_server(place.paths, first, discard=True)
    gone = replace(first, host="elsewhere", urls=("unix:///nowhere.sock",), generation=4)
    write_access(place.paths, gone)

    assert ensure_server(place.paths, place.instance).generation == 5


def test_an_agent_without_a_broker_learns_how_to_get_one(place: Place) -> None:
    with pytest.raises(BrokerUnavailable, match="batchpilot broker start") as error:
        AgentBroker.open(place.paths, place.instance)

    assert error.value.exit_code == 69


def test_a_server_that_was_started_and_not_told_of_gets_no_rival(place: Place) -> None:
    access = ensure_server(place.paths, place.instance)
    stop_server(place.paths, access)
    told = read_access(place.paths)
    assert told is not None
    again = ensure_server(place.paths, place.instance)
    write_access(place.paths, told)  # as if its starter had been killed behind the start
    end(again, signal.SIGSTOP)  # and it still reads its log
    try:
        with pytest.raises(BrokerUnavailable, match=rf"process {again.pid} lives"):
            ensure_server(place.paths, place.instance)
    finally:
        end(again, signal.SIGCONT)

    assert ensure_server(place.paths, place.instance).pid == again.pid
