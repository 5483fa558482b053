"""Agents as they come to nodes: ten at once, and one with devices; some are told to go.

All that is to be seen happens once, in the fixture `seen`; each test looks at one part of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, numbers

import batchpilot as bp
from batchpilot import control
from batchpilot_agent.launch import agent_command, clean_environment
from batchpilot_broker.paths import RegistryPaths


CROWD = 10
DEVICES = ("3", "GPU-7")
JOBS = CROWD + len(DEVICES)
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
HELD_SECONDS = 200.0


def look_around(i: int, room: str, job: Any) -> dict[str, Any]:
    """Leave a temporary file, wait until the test lets it go, and tell what there was."""
    agent, place = os.environ["BATCHPILOT_AGENT"], os.environ["TMPDIR"]
    with tempfile.NamedTemporaryFile(delete=False) as left:
        aside = Path(room, f"aside-{i}")
        aside.write_text(place)
        aside.rename(Path(room, f"place-of-{i}"))
    end = time.monotonic() + HELD_SECONDS  # a test that has failed does not hold it for ever
    while not Path(room, "open").exists() and time.monotonic() < end:
        time.sleep(0.02)
    return {
        "i": i,
        "agent": agent,
        "attempt": job.attempt,
        "place": place,
        "left in": str(Path(left.name).parent),
        "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }


@dataclass
class Node:
    """An agent that something else than a pool has started.

    Attributes:
        name: Its name.
        keeper: Its first process.
    """

    name: str
    keeper: subprocess.Popen[bytes]


@dataclass
class Seen:
    """What was seen.

    Attributes:
        at_work: Agents that had jobs before any job had ended, with these.
        alive: Agents that were alive then.
        modes: Modes of their jobs' temporary directories then.
        codes: Exit codes of the agents that were told to go, by signal.
        said: What those said.
        interrupted: Jobs that they had.
        results: Results of all jobs, by id.
        charged: Charged losses of each job.
        left: Temporary directories and their parents that are left when all agents have ended.
    """

    at_work: dict[str, list[int]] = field(default_factory=dict)
    alive: int = 0
    modes: list[int] = field(default_factory=list)
    codes: dict[signal.Signals, int] = field(default_factory=dict)
    said: dict[signal.Signals, str] = field(default_factory=dict)
    interrupted: list[int] = field(default_factory=list)
    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    charged: list[int] = field(default_factory=list)
    left: list[Path] = field(default_factory=list)


def start(paths: RegistryPaths, name: str, env: dict[str, str], **options: Any) -> Node:
    """Start an agent with some variables in its environment."""
    command = agent_command(paths, sys.executable, agent=name, grace=0.5, **options)
    with paths.agent_log(name).open("wb") as said:
        keeper = subprocess.Popen(
            command, stdout=said, stderr=said, env={**clean_environment(os.environ), **env}
        )
    return Node(name, keeper)


def tell_to_go(seen: Seen, paths: RegistryPaths, nodes: list[Node]) -> None:
    """Send each signal to one agent, as a batch system does, and wait for their ends."""
    told = dict(zip(SIGNALS, nodes, strict=False))
    for number, node in told.items():
        seen.interrupted += seen.at_work[node.name]
        node.keeper.send_signal(number)
    for number, node in told.items():
        seen.codes[number] = node.keeper.wait(60)
        seen.said[number] = paths.agent_log(node.name).read_text()


def work(registry: bp.Registry, nodes: list[Node], room: Path, until: Until) -> Seen:
    """See agents claim, some go, and the others do all the work."""
    seen, paths = Seen(), registry.paths
    until(lambda: len(registry.find_running()) == JOBS, 120.0)
    until(lambda: len(list(room.glob("place-of-*"))) == JOBS)
    seen.at_work = {a["id"]: list(a["running"]) for a in control.agents(paths) if a["running"]}
    seen.alive = sum(node.keeper.poll() is None for node in nodes)
    places = {Path(told.read_text()) for told in room.glob("place-of-*")}
    seen.modes = [path.stat().st_mode & 0o777 for p in places for path in (p, p.parent)]
    tell_to_go(seen, paths, nodes)
    (room / "open").touch()
    assert registry.wait_for_jobs(timeout=120, progress=False), registry.get_error_messages()
    seen.results = dict(registry.iter_results())
    seen.charged = numbers(registry, "charged")
    for node in nodes:
        node.keeper.terminate()
    for node in nodes:
        node.keeper.wait(60)
    seen.left = [path for place in places for path in (place, place.parent) if path.exists()]
    return seen


@pytest.fixture(scope="module")
def seen(
    make_shared: MakeStudy, tmp_path_factory: pytest.TempPathFactory, until: Until
) -> Iterator[Seen]:
    room = tmp_path_factory.mktemp("room")
    registry = make_shared()
    registry.pools = [
        bp.pools.External(name="crowd", slots=1, max_agents=CROWD),
        bp.pools.External(name="gpu", slots=2, max_agents=1, resources={"gpus": 2}),
    ]
    registry.batch_map(look_around, i=range(JOBS), more_args={"room": str(room)})
    registry.submit_jobs(range(1, CROWD + 1), {"pool": "crowd"})
    registry.submit_jobs(range(CROWD + 1, JOBS + 1), {"gpus": 1})
    given = {"CUDA_VISIBLE_DEVICES": ",".join(DEVICES)}
    crowd = {"pool": "crowd", "slots": 1, "crowd": CROWD}
    nodes = [start(registry.paths, f"crowd-{n}", {}, **crowd) for n in range(CROWD)]
    nodes.append(start(registry.paths, "gpu-0", given, pool="gpu", slots=2, gpus=2))
    yield work(registry, nodes, room, until)
    for node in nodes:
        node.keeper.kill()
        node.keeper.wait()
