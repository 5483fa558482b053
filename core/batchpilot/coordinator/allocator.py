"""Allocate: ask batch systems for agents while there is work, and know what became of them.

The agents' own messages come first: one that registers runs, one that says good-bye has ended. The
batch system is asked about the others, by one query a minute, beside the loop. Demand is gathered
for a moment, so that arrays are large; agents in the queue are cancelled when nothing has waited
for them for a minute.

A pool whose request is refused for good, or three of whose agents in a row ended without coming to
work, is paused until `agents resume`; other trouble makes growing pauses. All of it is told. What
has ended before this coordinator watched is no failure: it may have found no broker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from batchpilot.pools import RemotePool
from batchpilot.requesting import launcher_of, new_allocation, pilots_of, request_of
from batchpilot.store.allocations import Pilot, Stage
from batchpilot.store.dismissals import dismissed
from batchpilot.store.launches import Failed
from batchpilot_agent.errors import LaunchError, LaunchRefused
from batchpilot_agent.launchers.nouns import ElementState, ElementStatus, Launcher, Submitted
from batchpilot_broker.paths import RegistryPaths

from .desk import Desk
from .errands import Errand, ThreadedErrand
from .happenings import AgentEnded, AgentSeen, Happening
from .judge import Judge
from .merits import Merits
from .planning import demand_of, shortage_of, surplus_of
from .roster import Roster
from .systems import Systems
from .troubles import Troubles, last_words


GATHER = 2.0
COOL_DOWN = 60.0
LOOK_EVERY = 60.0
CANCEL_AGAIN = 60.0
TOLD_AFTER = 3
"""Queries in a row that failed before that is told: a daemon may be started anew."""


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
    _merits: Merits = field(init=False)
    _systems: Systems = field(init=False)
    _short_since: dict[str, float] = field(default_factory=dict)
    _surplus_since: dict[str, float] = field(default_factory=dict)
    _heard: list[AgentSeen | AgentEnded] = field(default_factory=list)
    _drained: set[str] = field(default_factory=set)
    _cancels: dict[tuple[str, int], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Know the agents that were asked for before, and listen."""
        self._roster = Roster(self.desk)
        self._troubles = Troubles(self.desk)
        self._merits = Merits(self.desk, self.judge)
        self._systems = Systems(self.desk, self.launcher, self.errand)
        self.desk.bus.listen(self._hear)

    def tick(self, now: float) -> None:
        """Take in what is new; ask for one thing at most of each batch system."""
        self._take_in(now)
        self._systems.collect(now)
        for kind in self._roster.kinds():  # first, so that nothing keeps a batch system too busy
            self._look(kind, now)
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

    def finish(self, patience: float, now: float) -> None:
        """Learn what came of submissions under way, before the coordinator leaves."""
        self._systems.finish(patience, now)

    def _hear(self, happening: Happening) -> None:
        if isinstance(happening, AgentSeen | AgentEnded):
            self._heard.append(happening)

    def _take_in(self, now: float) -> None:
        """Note agents that have come and gone, or were asked for by hand."""
        self._roster.refresh(now)
        heard, self._heard = self._heard, []
        for happening in heard:
            if isinstance(happening, AgentSeen):
                self._came(happening.agent)
            else:
                self._went(happening, now)
        at_work = self._roster.at_work()
        for pilot in at_work:
            self._relieve(pilot)
        self._merits.forget_but({pilot.agent for pilot in at_work})

    def _came(self, agent: str) -> None:
        info = self.desk.survey.agents.get(agent)
        pilot = self._roster.find(info.allocation) if info is not None else None
        if pilot is not None:
            pilot.stage, pilot.agent, pilot.reason = Stage.RUNNING, agent, ""
            self._roster.update([pilot])

    def _relieve(self, pilot: Pilot) -> None:
        """End the troubles of a pool when one of its agents first shows that it can work."""
        if self._merits.shows(pilot.agent):
            self._troubles.over(pilot.pool)

    def _went(self, ended: AgentEnded, now: float) -> None:
        """One that said good-bye has ended; of one that was lost the batch system knows more."""
        pilot = self._roster.of_agent(ended.agent)
        if pilot is None or (ended.reason != "left" and pilot.id):
            return
        unseen = not pilot.agent and self._roster.is_inherited(pilot)
        self._relieve(pilot)
        pilot.stage, pilot.reason, pilot.agent = Stage.ENDED, ended.reason, ended.agent
        self._roster.update([pilot])
        if unseen:
            return
        fault = self._merits.fault(pilot, ended.bye)
        if fault:
            self._troubles.failed(pilot, fault, now)
            return
        in_vain = self._merits.passed_over(pilot, ended.bye, now)
        if in_vain:
            self._troubles.refused(
                pilot.pool, in_vain, now, for_good=False, allocation=pilot.allocation
            )

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

    def _submit(self, pool: RemotePool, key: str, agents: int, now: float) -> None:
        system = self._systems.of(type(pool).__name__)
        if system.busy:
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
        self._systems.send(system, "submit", partial(system.launcher.submit, request), then)

    def _submitted(
        self, pool: str, allocation: str, result: Submitted | LaunchError, now: float
    ) -> None:
        if isinstance(result, LaunchError):
            self._roster.interrupted(allocation, str(result))
            shortfall, for_good = str(result), isinstance(result, LaunchRefused)
        else:
            self._roster.submitted(allocation, result)
            shortfall, for_good = result.shortfall, False
        if shortfall:
            self._troubles.refused(pool, shortfall, now, for_good=for_good, allocation=allocation)

    def _cancel(self, pilots: Sequence[Pilot], now: float) -> None:
        """Cancel agents of one batch system, if it was not just asked for that."""
        kind = pilots[0].kind
        system = self._systems.of(kind)
        self._cancels = {p: when for p, when in self._cancels.items() if now - when < CANCEL_AGAIN}
        ours = [p for p in pilots if p.id and p.kind == kind and p.key not in self._cancels]
        if ours and not system.busy and now >= system.cancel_at:
            self._cancels |= dict.fromkeys((pilot.key for pilot in ours), now)
            cancel = partial(system.launcher.cancel, [], [pilot.id for pilot in ours])
            self._systems.send(system, "cancel", cancel, partial(self._cancelled, ours))

    def _cancelled(self, pilots: list[Pilot], result: LaunchError | None, now: float) -> None:
        system = self._systems.of(pilots[0].kind)
        pools = {pilot.pool for pilot in pilots}
        if isinstance(result, LaunchError):
            system.cancel_at, system.uncancelled = now + CANCEL_AGAIN, system.uncancelled + 1
            times = system.uncancelled
            self._troubles.unheard(pools, Failed.CANCEL, str(result), times, now)
            return
        system.uncancelled = 0
        self._troubles.heard(pools, Failed.CANCEL)
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
        system = self._systems.of(kind)
        if system.looked is None:
            system.looked = now
        if system.busy or now - system.looked < LOOK_EVERY:
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
            self._systems.send(system, "query", look, partial(self._seen, kind, asked))

    def _seen(
        self,
        kind: str,
        pilots: list[Pilot],
        result: dict[str, ElementStatus] | LaunchError,
        now: float,
    ) -> None:
        """Note what a batch system says; a query that failed changes nothing."""
        system, pools = self._systems.of(kind), {pilot.pool for pilot in pilots}
        system.looked = now  # so that slow answers leave room for other commands
        if isinstance(result, LaunchError):
            system.unanswered += 1
            if system.unanswered >= TOLD_AFTER:
                words, times = str(result), system.unanswered
                self._troubles.unheard(pools, Failed.QUERY, words, times, now)
            return
        system.unanswered = 0
        self._troubles.heard(pools, Failed.QUERY)
        there = [pilot for pilot in pilots if pilot.stage is not Stage.ENDED]
        for pilot in there:  # but those that said good-bye meanwhile
            self._judged(pilot, result[pilot.id], now)
        self._roster.update(there)

    def _judged(self, pilot: Pilot, status: ElementStatus, now: float) -> None:
        if status.state is ElementState.ENDED:
            self._ended(pilot, status, now)
            return
        if status.state is not ElementState.UNKNOWN:
            self._roster.saw(pilot)
        if status.state is ElementState.RUNNING:
            pilot.stage, pilot.reason = Stage.RUNNING, status.reason
        elif pilot.stage is not Stage.RUNNING:
            pilot.reason = status.reason

    def _ended(self, pilot: Pilot, status: ElementStatus, now: float) -> None:
        """Note the end of an agent: death is certain, and a failure where it never worked."""
        ran = pilot.stage is Stage.RUNNING
        pilot.stage, pilot.reason = Stage.ENDED, status.reason
        if pilot.agent in self.desk.survey.agents:
            self.judge.end(pilot.agent, "lost", now)
        output = self.desk.paths.element_output(pilot.allocation, pilot.number)
        failed = status.failed or (not status.known and (ran or output.exists()))
        early = not pilot.agent and self._roster.is_inherited(pilot)
        if failed and not early and not self._merits.lasted(pilot.agent):
            why = "" if last_words(self.desk.paths, pilot) else status.reason
            self._troubles.failed(pilot, why, now)
