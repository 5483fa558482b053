"""Allocate: ask batch systems for agents while there is work, and know what became of them.

The agents' own messages come first: one that registers runs, one that says good-bye has ended. The
batch system is asked about the others, by one query a minute, beside the loop. Demand is gathered
for a moment, so that arrays are large; agents in the queue are cancelled when nothing has waited
for them for a minute.

A pool whose request is refused for good, or three of whose agents in a row ended without coming to
work, is paused until `agents resume`; other trouble makes growing pauses. All of it is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from batchpilot.pools import RemotePool
from batchpilot.requesting import launcher_of, new_allocation, pilots_of, request_of
from batchpilot.store.allocations import Pilot, Stage
from batchpilot.store.dismissals import dismissed
from batchpilot_agent.errors import LaunchError, LaunchRefused
from batchpilot_agent.launchers.nouns import ElementState, ElementStatus, Launcher, Submitted
from batchpilot_agent.launchers.waning import SecondLook
from batchpilot_broker.errors import BatchpilotError
from batchpilot_broker.paths import RegistryPaths

from .desk import Desk
from .errands import Errand, Stopwatch, ThreadedErrand
from .happenings import AgentEnded, AgentSeen, Happening, SchedulerCalled
from .judge import Judge, misfit
from .planning import demand_of, shortage_of, surplus_of
from .roster import Roster
from .troubles import Troubles


GATHER = 2.0
COOL_DOWN = 60.0
LOOK_EVERY = 60.0
CANCEL_AGAIN = 60.0


@dataclass(frozen=True, slots=True)
class _Call:
    """Hold a call that is under way: which command, how it goes, and what is done then."""

    command: str
    watch: Stopwatch
    errand: Errand
    then: Callable[[Any, float], None]


@dataclass(slots=True)
class _System:
    """Hold what is under way at one batch system, when it was asked and when it may be again."""

    look: SecondLook
    launcher: Launcher
    looked: float | None = None
    cancel_at: float = 0.0
    call: _Call | None = None


@dataclass(slots=True)
class Allocator:
    """Scale the pools of batch systems.

    Attributes:
        desk: What the duties share.
        judge: Is told of agents that have certainly ended.
        launcher: Gives the launcher of a kind of pool.
        errand: Does something beside the loop.
        wanted: Agents that each pool should have, as last reckoned.
    """

    desk: Desk
    judge: Judge
    launcher: Callable[[str, RegistryPaths], Launcher] = launcher_of
    errand: Callable[[Callable[[], Any]], Errand] = ThreadedErrand
    wanted: dict[str, int] = field(default_factory=dict)
    _roster: Roster = field(init=False)
    _troubles: Troubles = field(init=False)
    _systems: dict[str, _System] = field(default_factory=dict)
    _short_since: dict[str, float] = field(default_factory=dict)
    _surplus_since: dict[str, float] = field(default_factory=dict)
    _heard: list[AgentSeen | AgentEnded] = field(default_factory=list)
    _drained: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Know the agents that were asked for before, and listen."""
        self._roster = Roster(self.desk)
        self._troubles = Troubles(self.desk)
        self.desk.bus.listen(self._hear)

    def tick(self, now: float) -> None:
        """Take in what is new; ask for one thing at most of each batch system."""
        self._take_in(now)
        for kind, system in self._systems.items():
            self._collect(kind, system, now)
        held = self.desk.held()
        pools = self.desk.remote_pools()
        waiting = self.desk.waiting() if pools and not held else []
        self.wanted.clear()
        for pool in pools:
            demand = {} if held else demand_of(pool, waiting)
            self.wanted[pool.name] = min(pool.max_agents, sum(demand.values()))
            self._scale(pool, demand, now, held=held)
        if held:
            self._drain()
        self._cancel_strays({pool.name for pool in pools}, now)
        self._cancel_dismissed(now)
        for kind in self._roster.kinds():
            self._look(kind, now)

    def _hear(self, happening: Happening) -> None:
        if isinstance(happening, AgentSeen | AgentEnded):
            self._heard.append(happening)

    def _take_in(self, now: float) -> None:
        """Note agents that have come and gone, or were asked for by hand."""
        self._roster.refresh()
        heard, self._heard = self._heard, []
        for happening in heard:
            if isinstance(happening, AgentSeen):
                self._came(happening.agent)
            else:
                self._went(happening.agent, happening.reason, now)

    def _came(self, agent: str) -> None:
        info = self.desk.survey.agents.get(agent)
        pilot = self._roster.find(info.allocation) if info is not None else None
        if info is None or pilot is None:
            return
        pilot.stage, pilot.agent, pilot.reason = Stage.RUNNING, agent, ""
        self._roster.update([pilot])
        if not misfit(info):
            self._troubles.over(pilot.pool)

    def _went(self, agent: str, reason: str, now: float) -> None:
        """One that said good-bye has ended; of one that was lost the batch system knows more."""
        pilot = self._roster.of_agent(agent)
        if pilot is None:
            return
        if reason != "left":
            return
        pilot.stage, pilot.reason = Stage.ENDED, reason
        self._roster.update([pilot])
        if self._troubles.worked(agent) is False:
            self._troubles.failed(pilot, reason, now)

    def _scale(self, pool: RemotePool, demand: dict[str, int], now: float, *, held: bool) -> None:
        supply = self._roster.of_pool(pool.name)
        surplus = surplus_of(demand, supply)
        since = self._since(self._surplus_since, pool.name, now, going_on=bool(surplus))
        if surplus and (held or now - since >= COOL_DOWN):
            self._cancel(surplus, now)
        short = shortage_of(pool, demand, supply)
        since = self._since(self._short_since, pool.name, now, going_on=bool(short))
        if short and now - since >= GATHER and self._troubles.may_start(pool.name, now):
            key, agents = next(iter(short.items()))
            self._submit(pool, key, agents, now)

    @staticmethod
    def _since(times: dict[str, float], pool: str, now: float, *, going_on: bool) -> float:
        """Return since when something has been going on for a pool."""
        if not going_on:
            times.pop(pool, None)
            return now
        return times.setdefault(pool, now)

    def _system(self, kind: str) -> _System:
        system = self._systems.get(kind)
        if system is None:
            launcher = self.launcher(kind, self.desk.paths)
            system = self._systems[kind] = _System(SecondLook(launcher), launcher)
        return system

    def _send(
        self,
        system: _System,
        command: str,
        job: Callable[[], Any],
        then: Callable[[Any, float], None],
    ) -> None:
        watch = Stopwatch(job)
        system.call = _Call(command, watch, self.errand(watch), then)

    def _collect(self, kind: str, system: _System, now: float) -> None:
        """Take in what came of a call."""
        call = system.call
        if call is None or not call.errand.done:
            return
        system.call = None
        try:
            result = call.errand.result()
        except LaunchError as error:
            result = error
        except BatchpilotError as error:  # of the disk, where a script could not be kept
            result = LaunchError(str(error))
        short = isinstance(result, Submitted) and bool(result.shortfall)
        ok = not short and not isinstance(result, LaunchError)
        self.desk.bus.tell(SchedulerCalled(kind.lower(), call.command, call.watch.seconds, ok=ok))
        call.then(result, now)

    def _submit(self, pool: RemotePool, key: str, agents: int, now: float) -> None:
        system = self._system(type(pool).__name__)
        if system.call is not None:
            return
        self._short_since.pop(pool.name, None)
        allocation = new_allocation()
        taken = [pilot.id for pilot in self._roster.of_pool(pool.name)]
        logs = self.desk.log_format
        request = request_of(
            pool, self.desk.paths, allocation, agents, key, taken=taken, log_format=logs
        )
        self._roster.add(pilots_of(pool, allocation, agents, key, now))
        then = partial(self._submitted, pool.name, allocation)
        self._send(system, "submit", partial(system.launcher.submit, request), then)

    def _submitted(
        self, pool: str, allocation: str, result: Submitted | LaunchError, now: float
    ) -> None:
        if isinstance(result, LaunchError):
            nothing = Submitted(ids=(), elements=(), shortfall=str(result))
            self._roster.submitted(allocation, nothing)
            self._troubles.refused(
                pool, str(result), now, for_good=isinstance(result, LaunchRefused)
            )
            return
        self._roster.submitted(allocation, result)
        if result.shortfall:
            self._troubles.refused(pool, result.shortfall, now, for_good=False)

    def _cancel(self, pilots: list[Pilot], now: float) -> None:
        """Cancel agents of one batch system, if it did not just refuse that."""
        system = self._system(pilots[0].kind)
        ours = [pilot for pilot in pilots if pilot.id and pilot.kind == pilots[0].kind]
        if system.call is None and ours and now >= system.cancel_at:
            cancel = partial(system.launcher.cancel, [], [pilot.id for pilot in ours])
            self._send(system, "cancel", cancel, partial(self._cancelled, ours))

    def _cancelled(self, pilots: list[Pilot], result: LaunchError | None, now: float) -> None:
        if isinstance(result, LaunchError):
            self._system(pilots[0].kind).cancel_at = now + CANCEL_AGAIN
            self._troubles.refused(pilots[0].pool, str(result), now, for_good=False)
            return
        queued = [pilot for pilot in pilots if pilot.stage is Stage.QUEUED]
        for pilot in queued:  # one that comes nevertheless is known again when it registers
            pilot.stage, pilot.reason = Stage.ENDED, "cancelled"
        self._roster.update(queued)

    def _cancel_strays(self, pools: set[str], now: float) -> None:
        """Cancel what waits in queues for pools that are no more."""
        for kind in self._roster.kinds():
            ours = self._roster.of_kind(kind)
            strays = [p for p in ours if p.pool not in pools and p.stage is Stage.QUEUED]
            since = self._since(self._surplus_since, f"\0{kind}", now, going_on=bool(strays))
            if strays and now - since >= GATHER:
                self._cancel(strays, now)

    def _cancel_dismissed(self, now: float) -> None:
        """Cancel what the user has named of those that have not come yet."""
        with self.desk.db.read() as tx:
            names = dismissed(tx)
        for kind in self._roster.kinds() if names else ():
            named = [p for p in self._roster.of_kind(kind) if p.id in names and not p.agent]
            if named:
                self._cancel(named, now)

    def _drain(self) -> None:
        """Tell agents to finish what runs and leave."""
        for kind in self._roster.kinds():
            for pilot in self._roster.of_kind(kind):
                if pilot.agent and pilot.agent not in self._drained:
                    self._drained.add(pilot.agent)
                    self.desk.broker.control(pilot.agent, "drain")

    def _look(self, kind: str, now: float) -> None:
        """Ask a batch system about the agents that do not speak for themselves."""
        system = self._system(kind)
        if system.looked is None:
            system.looked = now
        if system.call is not None or now - system.looked < LOOK_EVERY:
            return
        quiet = self.judge.quiet()
        asked = [
            pilot
            for pilot in self._roster.of_kind(kind)
            if pilot.id and (pilot.agent not in self.desk.survey.agents or pilot.agent in quiet)
        ]
        if asked:
            system.looked = now
            look = partial(system.look.states, [pilot.id for pilot in asked])
            self._send(system, "query", look, partial(self._seen, asked))

    def _seen(
        self, pilots: list[Pilot], result: dict[str, ElementStatus] | LaunchError, now: float
    ) -> None:
        """Note what a batch system says; a query that failed changes nothing."""
        if isinstance(result, LaunchError):
            return
        changed = []
        for pilot in pilots:
            status = result[pilot.id]
            if status.state is ElementState.ENDED:
                self._ended(pilot, status, now)
            elif status.state is ElementState.RUNNING:
                pilot.stage, pilot.reason = Stage.RUNNING, status.reason
            elif pilot.stage is not Stage.RUNNING:
                pilot.reason = status.reason
            changed.append(pilot)
        self._roster.update(changed)

    def _ended(self, pilot: Pilot, status: ElementStatus, now: float) -> None:
        """Note the end of an agent: death is certain, and a failure where it never worked."""
        pilot.stage, pilot.reason = Stage.ENDED, status.reason
        if pilot.agent in self.desk.survey.agents:
            self.judge.end(pilot.agent, "lost", now)
        if (status.failed or not status.known) and not self._troubles.worked(pilot.agent):
            self._troubles.failed(pilot, status.reason, now)
