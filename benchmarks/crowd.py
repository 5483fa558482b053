"""Agents that are all started at the same moment, as by an array job, until each has claimed.

    python benchmarks/crowd.py [--agents 60]

Goal: 60 agents have all claimed within 30 s, and none is refused.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from machine import claimed_at, machine, show

import batchpilot as bp
from batchpilot import control
from batchpilot_agent.launch import agent_command, clean_environment


PATIENCE = 300.0


def held(i: int, gate: str) -> int:
    """Run until all agents have claimed."""
    while not Path(gate).exists():
        time.sleep(0.1)
    return i


def prepare(reg: bp.Registry, agents: int, signal: int) -> list[subprocess.Popen[bytes]]:
    """Start shells that become agents once the other end of a pipe is closed."""
    started = []
    for n in range(agents):
        command = agent_command(
            reg.paths, sys.executable, agent=f"crowd-{n}", pool="crowd", slots=1, crowd=agents
        )
        with reg.paths.agent_log(f"crowd-{n}").open("wb") as log:
            environment = clean_environment(os.environ)
            shell = ["sh", "-c", 'read -r _; exec "$@"', "sh", *command]
            started.append(
                subprocess.Popen(shell, stdin=signal, stdout=log, stderr=log, env=environment)
            )
    return started


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"not within {PATIENCE:.0f} s")
        time.sleep(0.1)


def crowd(agents: int, place: Path) -> list[float]:
    """Return the seconds after which each of the agents had claimed."""
    reg = bp.make_registry(place / "registry", seed=1)
    reg.pools = [bp.pools.External(name="crowd", slots=1, max_agents=agents)]
    reg.batch_map(held, i=range(agents), more_args={"gate": str(place / "gate")})
    reg.submit_jobs()
    signal, ours = os.pipe()
    keepers = prepare(reg, agents, signal)
    os.close(ours)
    began = time.time()
    logs = [reg.paths.agent_log(f"crowd-{n}") for n in range(agents)]
    try:
        wait_for(lambda: all(claimed_at(log) for log in logs))
        if any(keeper.poll() is not None for keeper in keepers):
            raise SystemExit("an agent has left")
        (place / "gate").touch()
        reg.wait_for_jobs(progress=False)
        return [claimed_at(log) - began for log in logs]
    finally:
        for keeper in keepers:
            keeper.terminate()
        for keeper in keepers:
            keeper.wait()
        control.stop(reg.paths)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=60)
    agents = parser.parse_args().agents
    print(machine())
    with tempfile.TemporaryDirectory() as place:
        claims = crowd(agents, Path(place))
    show(f"{agents} agents, start to claim", claims, "s", "the last within 30")


if __name__ == "__main__":
    main()
