"""Scale: start agents while there is work for them; they leave by themselves when there is none.

A pool whose agents fail to start is tried again after pauses that grow to a minute; how the last
one failed is kept in the registry, for users who wonder why nothing runs.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from batchpilot.pools import AgentPool, Local
from batchpilot.requesting import start_local
from batchpilot.resources import fits
from batchpilot.store.launches import LaunchFailure, forget_failure, note_failure
from batchpilot_agent.settings import Exit
from batchpilot_broker.journal import spoken

from .desk import Desk
from .happenings import LaunchFailed, SchedulerCalled
from .judge import misfit


PAUSES = (0.0, 1.0, 5.0, 15.0, 60.0)
IN_A_ROW = 120.0
SHOWN_LINES = 20


@dataclass(slots=True)
class _Starting:
    """Hold an agent that was started by this coordinator, and whether it came to work."""

    pool: str
    process: subprocess.Popen[bytes]
    came: bool = False
    seen: bool = False


@dataclass(slots=True)
class _Trouble:
    """Hold how often in a row a pool's agents failed to start, and until when to pause."""

    failures: int = 0
    until: float = 0.0


@dataclass(slots=True)
class Scaler:
    """Start local agents.

    Attributes:
        desk: What the duties share.
        clock: Gives the Unix time.
        wanted: Agents that each pool should have, as last reckoned; those of others, too.
    """

    desk: Desk
    clock: Callable[[], float] = time.time
    wanted: dict[str, int] = field(default_factory=dict)
    _started: dict[str, _Starting] = field(default_factory=dict)
    _trouble: dict[str, _Trouble] = field(default_factory=dict)
    _broken: dict[str, tuple[int, float]] = field(default_factory=dict)

    def tick(self, now: float) -> None:
        """Start what is wanting; look after what was started."""
        self._reap(now)
        self._reckon()
        for pool in self.desk.local_pools():
            if now >= self._trouble.get(pool.name, _Trouble()).until:
                for _ in range(self.wanted[pool.name] - self._supply(pool.name)):
                    self._start(pool)

    def finish(self) -> None:
        """End what was started and has not come, which nobody else knows of."""
        for started in self._started.values():
            if not started.came and started.process.poll() is None:
                started.process.terminate()

    def _reckon(self) -> None:
        waiting = self.desk.waiting()
        held = self.desk.held()
        self.wanted.clear()
        for pool in (*self.desk.local_pools(), *self.desk.external_pools()):
            jobs = sum(n for needed, n in waiting if fits(needed, pool))
            self.wanted[pool.name] = 0 if held else wanted_agents(pool, jobs)

    def _supply(self, pool: str) -> int:
        """Return the agents there are or will be; work of a suspect one needs another."""
        live = {a for a, info in self.desk.survey.agents.items() if info.pool == pool}
        started = {a for a, s in self._started.items() if s.pool == pool}
        return len((live | started) - self.desk.suspects)

    def _start(self, pool: Local) -> None:
        begun = time.perf_counter()
        agent, process = start_local(pool, self.desk.paths, self.desk.log_format)
        self.desk.bus.tell(SchedulerCalled("local", "submit", time.perf_counter() - begun))
        self._started[agent] = _Starting(pool.name, process)

    def _reap(self, now: float) -> None:
        for agent, started in list(self._started.items()):
            info = self.desk.survey.agents.get(agent)
            if info is not None and not started.came and not misfit(info):
                started.came = True
                self._recovered(started.pool)
            status = started.process.poll()
            if status is None:
                continue
            del self._started[agent]
            if status == Exit.FAILED and started.came:
                self._broke_down(agent, started.pool, now)
            elif status != 0 and not started.came:
                self._failed(agent, started.pool, now)

    def _broke_down(self, agent: str, pool: str, now: float) -> None:
        """Note an agent that came and could not work; in a row they make the pauses grow."""
        count, last = self._broken.get(pool, (0, 0.0))
        count = count + 1 if now - last < IN_A_ROW else 1
        self._broken[pool] = count, now
        self._trouble[pool] = _Trouble(failures=count - 1)
        self._failed(agent, pool, now)

    def _recovered(self, pool: str) -> None:
        self._trouble.pop(pool, None)
        with self.desk.db.write() as tx:
            forget_failure(tx, pool)

    def _failed(self, agent: str, pool: str, now: float) -> None:
        trouble = self._trouble.setdefault(pool, _Trouble())
        trouble.until = now + PAUSES[min(trouble.failures, len(PAUSES) - 1)]
        trouble.failures += 1
        log = self.desk.paths.agent_log(agent)
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        words = "\n".join(map(spoken, lines[-SHOWN_LINES:]))
        where = str(log.relative_to(self.desk.paths.root)) if log.exists() else ""
        failure = LaunchFailure(
            pool=pool, time=now, failures=trouble.failures, words=words, where=where
        )
        with self.desk.db.write() as tx:
            note_failure(tx, failure)
        self.desk.bus.tell(LaunchFailed(pool, words))


def wanted_agents(pool: AgentPool, jobs: int) -> int:
    """Return how many agents a pool should have for a number of unfinished jobs.

    Example:
        >>> wanted_agents(Local(slots=2, max_agents=4), 5)
        3
    """
    if jobs <= 0:
        return 0
    return min(pool.max_agents, max(pool.min_agents, -(-jobs // pool.slots)))
