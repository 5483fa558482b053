"""Scale: start agents while there is work for them; they leave by themselves when there is none.

A pool whose agents fail to start is tried again after pauses that grow to a minute; how the last
one failed is kept in the registry, for users who wonder why nothing runs.
"""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgpack

from batchpilot.errors import NoSuchPool
from batchpilot.pools import External, Local
from batchpilot.resources import check_servable
from batchpilot.store.launches import LaunchFailure, forget_failure, note_failure
from batchpilot_agent.launch import launch_local
from batchpilot_agent.settings import Exit
from batchpilot_broker.journal import spoken
from batchpilot_broker.nouns import ResourceClass

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
        wanted: Agents that each pool should have, as last reckoned.
        held: Pools whose agents the user has stopped.
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
        waiting = self._waiting()
        held = self._held()
        for pool in self.desk.local_pools():
            jobs = sum(n for needed, n in waiting if _fits(needed, pool))
            supply = self._supply(pool.name)
            self.wanted[pool.name] = 0 if held else wanted_agents(pool, jobs)
            pause = self._trouble.get(pool.name, _Trouble()).until
            if now >= pause and not isinstance(pool, External):
                for _ in range(self.wanted[pool.name] - supply):
                    self._start(pool)

    def _waiting(self) -> list[tuple[ResourceClass, int]]:
        """Return the unfinished jobs of each class that has some."""
        with self.desk.db.read() as tx:
            counts = dict(tx.all("unfinished_by_class"))
            classes = dict(tx.all("all_classes")) if counts else {}
        return [
            (ResourceClass.from_wire(msgpack.unpackb(classes[name])), n)
            for name, n in counts.items()
            if n
        ]

    def _held(self) -> bool:
        with self.desk.db.read() as tx:
            return bool(tx.meta("agents_stopped", 0))

    def _supply(self, pool: str) -> int:
        live = {a for a, info in self.desk.survey.agents.items() if info.pool == pool}
        return len(live | {a for a, s in self._started.items() if s.pool == pool})

    def _start(self, pool: Local) -> None:
        agent = f"{pool.name}-{secrets.token_hex(4)}"
        begun = time.perf_counter()
        process = launch_local(
            self.desk.paths,
            agent_id=agent,
            pool=pool.name,
            slots=pool.slots,
            cores=pool.ncpus,
            memory=pool.memory,
            idle_timeout=pool.idle_timeout,
            start=pool.start,
            log_format=self.desk.log_format,
        )
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
        log = self.desk.paths.logs / f"{agent}.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        words = "\n".join(map(spoken, lines[-SHOWN_LINES:]))
        with self.desk.db.write() as tx:
            note_failure(
                tx, LaunchFailure(pool=pool, time=now, failures=trouble.failures, words=words)
            )
        self.desk.bus.tell(LaunchFailed(pool, words))


def wanted_agents(pool: Local, jobs: int) -> int:
    """Return how many agents a pool should have for a number of unfinished jobs.

    Example:
        >>> wanted_agents(Local(slots=2, max_agents=4), 5)
        3
    """
    if jobs <= 0:
        return 0
    return min(pool.max_agents, max(pool.min_agents, -(-jobs // pool.slots)))


def _fits(needed: ResourceClass, pool: Local) -> bool:
    try:
        check_servable(needed, [pool])
    except NoSuchPool:
        return False
    return True
