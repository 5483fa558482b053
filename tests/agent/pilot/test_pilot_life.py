"""When an agent stays, when it leaves, and how it comes through the loss of its broker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import wait_until

from batchpilot_agent.launch import clean_environment
from batchpilot_agent.settings import Exit
from batchpilot_broker.access import Access, read_access, write_access
from batchpilot_broker.accounts import for_agents
from batchpilot_broker.connect import connect
from batchpilot_broker.generation import settle_generation, wipe
from batchpilot_broker.nouns import Outcome, ResourceClass

from .conftest import Bench
from .marks import Marks


def command_of(registry: Path, *options: str) -> list[str]:
    """Return how an agent is started by hand."""
    command = [sys.executable, "-m", "batchpilot_agent", "--registry", str(registry)]
    return [*command, "--agent", "a1", "--pool", "local", "--slots", "1", *options]


def loaded_with(module: str) -> set[str]:
    """Return what a fresh Python has loaded after it has imported a module."""
    ended = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
        env=clean_environment(os.environ),
    )
    return set(ended.stdout.split())


def test_it_registers_says_hello_and_is_known(bench: Bench) -> None:
    bench.agent_there(slots=3, cores=4, memory=1000.0)
    info = bench.broker.agents()["a1"]
    wait_until(bench.said)

    assert (info.pool, info.slots, info.cores, info.memory) == ("local", 3, 4, 1000.0)
    assert info.cloudpickle
    assert bench.events[0]["kind"] == "hello"
    assert bench.events[0]["held"] == []
    wait_until(lambda: bench.broker.beats()["a1"] >= 1)


def test_idle_agents_leave_while_a_coordinator_lives(bench: Bench) -> None:
    agent = bench.agent(idle_timeout=0.2)

    def has_ended() -> bool:
        bench.broker.alive(0)
        return agent.poll() is not None

    wait_until(has_ended)

    assert agent.wait() == Exit.LEFT
    assert bench.said()[-1] == {"kind": "bye", "agent": "a1", "reason": "idle"}


def test_without_a_coordinator_idle_time_does_not_count_but_orphaned_time_does(
    bench: Bench,
) -> None:
    agent = bench.lone_agent(idle_timeout=0.1, orphan_timeout=3.0)

    assert agent.wait(60) == Exit.LEFT
    assert bench.said()[-1] == {"kind": "bye", "agent": "a1", "reason": "orphaned"}


def test_without_a_broker_it_waits_and_leaves_with_a_code_of_its_own(bench: Bench) -> None:
    bench.paths.broker.unlink()
    agent = bench.agent(orphan_timeout=0.5)

    assert agent.wait(60) == Exit.BROKER_GONE
    assert "has no broker" in bench.words()


def test_a_broker_that_comes_later_is_found(bench: Bench) -> None:
    record = read_access(bench.paths)
    assert record is not None
    bench.paths.broker.unlink()
    bench.feed(bench.epoch(lambda x: x), [(1,)])
    bench.agent()
    wait_until(lambda: "has no broker" in bench.words())
    write_access(bench.paths, record)

    assert bench.await_rows(100)[100].outcome is Outcome.DONE


def test_a_new_generation_hears_what_is_held_and_work_goes_on(
    bench: Bench, server: Access, marks: Marks
) -> None:
    chunk = bench.feed(bench.epoch(marks.waiting()), [("a",)])
    bench.agent()
    wait_until(lambda: marks.has("a"))
    with closing(connect(server)) as client:
        wipe(client, bench.instance)
        generation = settle_generation(client, bench.instance, 1)
        write_access(bench.paths, for_agents(replace(server, generation=generation)))
    bench.broker.take(1)
    bench.broker.pulse = 0  # as of one that is opened anew
    bench._after = "0"
    wait_until(bench.said)
    hello = {"kind": "hello", "agent": "a1", "generation": generation, "held": [chunk.id]}
    wait_until(lambda: hello in bench.said())

    assert generation == 2
    assert bench.broker.leases() == {chunk.id: "a1"}
    marks.set("end a")
    assert bench.await_rows(100)[100].outcome is Outcome.DONE


def test_it_ends_when_its_registry_is_gone(bench: Bench) -> None:
    agent = bench.agent_there()
    shutil.rmtree(bench.paths.root)

    assert agent.wait(60) == Exit.REGISTRY_GONE


def test_refused_it_leaves_and_says_why(bench: Bench) -> None:
    agent = bench.agent_there()
    bench.broker.control("a1", "refused", why="Python 3.9 is not 3.11")

    assert agent.wait(60) == Exit.REFUSED
    assert "Python 3.9 is not 3.11" in bench.words()


def test_a_name_is_used_once(bench: Bench) -> None:
    first = bench.agent_there()
    first.terminate()
    assert first.wait(60) == Exit.LEFT
    again = bench.agent()

    assert again.wait(60) == Exit.FAILED
    assert "name is used once" in bench.words()


def test_where_there_is_no_registry_it_says_so(tmp_path: Path) -> None:
    ended = subprocess.run(
        command_of(tmp_path),
        check=False,
        capture_output=True,
        text=True,
        env=clean_environment(os.environ),
    )

    assert ended.returncode == Exit.REGISTRY_GONE
    assert "is no registry" in ended.stderr


def start_by_hand(bench: Bench, *options: str) -> subprocess.Popen[bytes]:
    """Start an agent with options of its command line."""
    bench.broker.alive(1)
    command = command_of(bench.paths.root, *options)
    agent = subprocess.Popen(command, env=clean_environment(os.environ))
    bench.agents.append(agent)
    return agent


def test_walltime_keeps_long_jobs_away(bench: Bench) -> None:
    epoch = bench.epoch(lambda x: x)
    bench.feed(epoch, [(1,)], resources=ResourceClass(walltime=600.0))
    bench.feed(epoch, [(1,)], resources=ResourceClass(walltime=1.0))
    start_by_hand(bench, "--walltime", "100", "--grace", "24")

    assert bench.await_rows(200).keys() == {200}


def test_walltime_ends_it_in_time(bench: Bench) -> None:
    agent = start_by_hand(bench, "--walltime", "38", "--grace", "24")

    assert agent.wait(38) == Exit.LEFT
    assert bench.said()[-1]["reason"] == "walltime"


@pytest.mark.parametrize(
    ("element", "cores", "memory"), [("--element=3", 2, 1500.0), ("--idle-timeout=60", 8, 4000.0)]
)
def test_an_element_of_an_allocation_has_no_more_than_that(
    bench: Bench, element: str, cores: int, memory: float
) -> None:
    command = command_of(bench.paths.root, "--cores=8", "--memory=4000", element)
    given = {"SLURM_JOB_ID": "1", "SLURM_CPUS_ON_NODE": "2", "SLURM_MEM_PER_NODE": "1500"}
    agent = subprocess.Popen(command, env=clean_environment(os.environ) | given)
    bench.agents.append(agent)
    wait_until(bench.broker.agents)

    (info,) = bench.broker.agents().values()
    assert (info.cores, info.memory) == (cores, memory)


def test_secrets_stay_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BATCHPILOT_BROKER_PASSWORD", "BATCHPILOT_BROKER_URL", "REDISCLI_AUTH"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("HARMLESS", "yes")
    environment = clean_environment(os.environ)

    assert "hunter2" not in environment.values()
    assert environment["HARMLESS"] == "yes"


def test_the_pilot_loads_nothing_heavy() -> None:
    heavy = {"numpy", "pandas", "sqlite3", "rq", "cloudpickle", "batchpilot"}

    assert not heavy & loaded_with("batchpilot_agent.pilot.pilot")


def test_the_keeper_loads_no_redis() -> None:
    assert not {"redis", "msgpack", "asyncio"} & loaded_with("batchpilot_agent.__main__")
