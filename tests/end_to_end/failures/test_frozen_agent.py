"""An agent that freezes and wakes after its jobs were given away: each job counts once.

Two agents with four slots each hold eight gated jobs; one is stopped until its young jobs are given
away, which takes 15 s. The jobs that it holds then take four ways, told in `Ways`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, numbers

import batchpilot as bp
from batchpilot import control
from batchpilot.store.pages import unpack_ranges
from batchpilot_broker.nouns import Outcome

from . import work
from .conftest import Tell
from .tools import applied, held_by, started_by, written


SLOTS = 4


@dataclass(frozen=True, slots=True)
class Ways:
    """Name the four jobs of the frozen agent by what becomes of them.

    Attributes:
        late_wins: Its late result comes while the second attempt runs: that one is cancelled.
        late_loses: Its late result comes after the second attempt's.
        resubmitted: It is killed and submitted again; only what the new submission did counts.
        killed: It is killed, and stays so.
    """

    late_wins: int
    late_loses: int
    resubmitted: int
    killed: int

    @property
    def all(self) -> tuple[int, ...]:
        """Return all four."""
        return self.late_wins, self.late_loses, self.resubmitted, self.killed


class Stage:
    """Hold the gates, and look at who runs what.

    Args:
        registry: The registry.
        gates: Directory of the gates.
        until: Waits.
    """

    def __init__(self, registry: bp.Registry, gates: Path, until: Until) -> None:
        self.registry = registry
        self.gates = gates
        self.until = until

    def began(self, job: int, attempt: int) -> None:
        """Wait until an attempt runs."""
        self.until((self.gates / f"began-{job}-{attempt}").exists)

    def open(self, job: int, attempt: int) -> None:
        """Let an attempt go."""
        (self.gates / f"open-{job}-{attempt}").touch()

    def rows_of(self, job: int) -> list[int]:
        """Return the attempts of a job that are written as done, in any segment."""
        rows = written(self.registry)
        done = (rows["job"] == job) & (rows["outcome"] == Outcome.DONE)
        attempts: list[int] = sorted(rows[done]["attempt"].tolist())
        return attempts


def test_what_a_frozen_agent_says_late_counts_once_or_not_at_all(
    make_study: MakeStudy, until: Until, gates: Path, tell: Tell
) -> None:
    registry = make_study(pool=bp.pools.Local(slots=SLOTS, min_agents=2, max_agents=2))
    stage = Stage(registry, gates, until)
    registry.batch_map(work.gated, i=range(2 * SLOTS), more_args={"gates": str(gates)})
    registry.submit_jobs()
    for job in range(1, 2 * SLOTS + 1):
        stage.began(job, 1)
    until(lambda: held_by_each(registry) == [SLOTS, SLOTS])
    frozen, other = control.agents(registry.paths)
    ways = Ways(*sorted(held_by(registry, frozen["id"])))

    pilot, jobs = frozen["pid"], [p.pid for p in started_by(frozen["id"])]
    moment = time.monotonic()
    send(signal.SIGSTOP, pilot, *jobs)
    for job in held_by(registry, other["id"]):
        stage.open(job, 1)
    give_away(stage, ways)
    tell(f"given away after {time.monotonic() - moment:.1f} s of silence")

    registry.kill_jobs([ways.resubmitted, ways.killed])
    third = numbers(registry, "attempt")[ways.resubmitted - 1] + 1  # it grows when it is fed
    registry.submit_jobs(ways.resubmitted)
    stage.began(ways.resubmitted, third)
    for job in ways.all:
        stage.open(job, 1)
    rival = runs_at(stage, other["id"], ways.late_wins)
    send(signal.SIGCONT, *jobs)  # the slots finish first, what they wrote is told later
    until(lambda: all(1 in stage.rows_of(job) for job in ways.all))
    send(signal.SIGCONT, pilot)

    until(lambda: ways.late_wins in registry.find_done())
    until(lambda: not rival())
    stage.open(ways.resubmitted, third)
    assert registry.wait_for_jobs(timeout=60, progress=False)
    assert registry.load_result(ways.late_wins) == 1
    assert registry.load_result(ways.late_loses) == 2
    assert registry.load_result(ways.resubmitted) == third
    assert registry.find_not_submitted() == [ways.killed]
    assert stage.rows_of(ways.late_wins) == [1]
    assert stage.rows_of(ways.late_loses) == [1, 2]
    assert "late row" in (registry.paths.logs / "coordinator.log").read_text()
    counted = applied(registry)["job"]
    assert np.array_equal(np.sort(counted), np.setdiff1d(np.arange(1, 2 * SLOTS + 1), ways.killed))
    assert {agent["id"] for agent in control.agents(registry.paths)} == {frozen["id"], other["id"]}


def held_by_each(registry: bp.Registry) -> list[int]:
    """Return how many unfinished jobs each agent holds."""
    return [len(held_by(registry, agent["id"])) for agent in control.agents(registry.paths)]


def give_away(stage: Stage, ways: Ways) -> None:
    """Wait until the other agent runs all four; let it finish one of them."""
    for job in ways.all:
        stage.began(job, 2)
    stage.open(ways.late_loses, 2)
    stage.until(lambda: ways.late_loses in stage.registry.find_done())


def runs_at(stage: Stage, agent: str, job: int) -> Callable[[], bool]:
    """Return a function that tells whether an agent still holds a job."""
    return lambda: job in holders(stage.registry).get(agent, set())


def holders(registry: bp.Registry) -> dict[str, set[int]]:
    """Return the jobs of the chunks that each agent holds, whatever has become of them."""
    held: dict[str, set[int]] = {}
    with registry.database.read() as tx:
        for _, _, _, _, ranges, agent, _ in tx.all("all_chunks"):
            held.setdefault(agent, set()).update(unpack_ranges(ranges).tolist())
    return held


def send(number: signal.Signals, *pids: int) -> None:
    """Send a signal to processes."""
    for pid in pids:
        os.kill(pid, number)
