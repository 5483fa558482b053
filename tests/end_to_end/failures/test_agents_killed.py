"""Agents killed at random moments: what they had finished stays, the rest runs elsewhere."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, numbers

import batchpilot as bp
from batchpilot import control

from . import work
from .conftest import Tell
from .tools import assert_each_done_once, fed, held_by, kill, on_again, rq_info, started_by, written


BRIEF = 80_000
LONG = 20
JOBS = BRIEF + LONG
SECONDS = 1.0
KILLS = 10
WITHIN = 15.0
LAST_CHARGE = 2


class Killer:
    """Kill agents that hold work, and see how their work goes on.

    Args:
        registry: Whose agents.
        until: Waits.
    """

    def __init__(self, registry: bp.Registry, until: Until) -> None:
        self._registry = registry
        self._until = until
        self._victim: tuple[str, int, dict[int, int]] = ("", 0, {})
        self.killed: list[str] = []
        self.recoveries: list[float] = []
        self.leftovers = 0

    def kill_one(self) -> None:
        """Kill an agent that holds work; wait for the end of what it left, and for its work."""
        self._until(self._found)
        agent, pid, held = self._victim
        family = started_by(agent)
        moment = kill(pid)
        self.killed.append(agent)
        self.leftovers += sum(name == "sleep" for name in family.values())
        self._until(lambda: not any(process.is_running() for process in family), WITHIN)
        self._until(lambda: on_again(self._registry, held), 2 * WITHIN)
        self.recoveries.append(time.monotonic() - moment)

    def _found(self) -> bool:
        """Look for an agent that holds work; a job that a third loss would expire is spared."""
        charged = numbers(self._registry, "charged")
        for agent in control.agents(self._registry.paths):
            held = held_by(self._registry, agent["id"])
            if held and all(charged[job - 1] < LAST_CHARGE for job in held):
                self._victim = agent["id"], agent["pid"], held
                return True
        return False


@pytest.mark.timeout(300)
def test_ten_killed_agents_cost_only_what_they_had_not_finished(
    make_study: MakeStudy, until: Until, moments: random.Random, tell: Tell
) -> None:
    registry = make_study(pool=bp.pools.Local(slots=1, min_agents=2, max_agents=2))
    more = {"briefs": BRIEF, "seconds": SECONDS}
    registry.batch_map(work.brief_or_long, i=range(1, JOBS + 1), more_args=more)
    registry.submit_jobs(range(1, BRIEF + 1))
    registry.submit_jobs(range(BRIEF + 1, JOBS + 1), {"isolation": "process"})
    killer = Killer(registry, until)
    began = time.monotonic()
    for _ in range(KILLS):
        time.sleep(moments.uniform(0.1, 1.0))
        killer.kill_one()
    tell(f"{KILLS} kills in {time.monotonic() - began:.1f} s; {registry.get_status().done} done")

    assert registry.wait_for_jobs(timeout=200, progress=False), registry.get_status()

    living = control.agents(registry.paths)
    shown = rq_info(registry)
    again = [size for _, size, attempt in fed(registry) if attempt > 1]
    tell(
        f"recovered within {max(killer.recoveries):.2f} s of a kill, "
        f"median {sorted(killer.recoveries)[KILLS // 2]:.2f} s; {sum(again)} jobs in "
        f"{len(again)} chunks fed again; {time.monotonic() - began:.1f} s in all"
    )
    assert_each_done_once(registry, JOBS)
    assert max(killer.recoveries) < WITHIN
    assert 0 < len(again) <= 20 * KILLS  # with what slow chunks have handed back
    assert max(numbers(registry, "charged")) <= LAST_CHARGE
    assert not any(agent in shown for agent in killer.killed)
    assert all(agent["id"] in shown for agent in living)
    assert killer.leftovers
    assert len(written(registry)) == JOBS


def test_what_a_killed_agent_had_not_told_is_read_from_its_segment(
    make_study: MakeStudy, until: Until, gates: Path
) -> None:
    registry = make_study(pool=bp.pools.Local(slots=1))
    known, gated, last = 400, 405, 1000
    more = {"which": gated, "gates": str(gates)}
    registry.batch_map(work.gated_when_stopped, i=range(1, last + 1), more_args=more)
    registry.submit_jobs(range(1, known + 1))
    assert registry.wait_for_jobs(timeout=60, progress=False)
    (agent,) = control.agents(registry.paths)
    (gates / "pid").write_text(str(agent["pid"]))
    registry.submit_jobs(range(known + 1, last + 1))
    until((gates / f"began-{gated}-1").exists)  # the slot goes on, and nobody tells of it

    (gates / f"open-{gated}-1").touch()
    until(lambda: len(written(registry)) >= gated + 10)
    assert registry.get_status().done < gated
    attempts = numbers(registry, "attempt")[: gated + 10]
    kill(agent["pid"])

    assert registry.wait_for_jobs(timeout=60, progress=False)
    assert_each_done_once(registry, last)
    again = sorted(size for _, size, attempt in fed(registry) if attempt > 1)
    assert numbers(registry, "attempt")[: gated + 10] == attempts
    assert len(again) < 5 + sum(again) / 5  # ranges, not a chunk for each job
