"""Judge: which agents live, and what becomes of the work of those that do not.

    registered -> alive --(its process is gone for 0.5 s, or it said good-bye)--> ended
                    |---(silent 15 s)--> suspect: chunks younger than 60 s are given away
                    `---(silent lost_after = 120 s)--> lost: all its chunks are given away

Nobody is judged by silence before this coordinator has itself listened that long, and while more
than half of a pool of at least four miss their beats at once, suspicion waits for `lost_after`:
then it is the network, not the agents. As they beat at different moments, those that a cut takes
fall silent one after another, and come back so: a missed beat counts, and for 15 s after such a
silence nobody is suspected. Before anything is given away, the agent's segment is read to its
end; what was finished stays finished.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

from batchpilot.store.changing import (
    NOBODY,
    Applied,
    charge,
    handed_out,
    queue_again,
    stays_together,
)
from batchpilot.store.database import Transaction
from batchpilot.store.pages import Ids, unpack_ranges
from batchpilot_broker.host import boot_id, host_name, is_alive
from batchpilot_broker.nouns import PROTOCOL_MAJOR, AgentInfo

from .applier import Applier
from .desk import AGENT_LOST, Desk
from .happenings import BEFORE, AgentEnded, AgentRefused, AgentSeen, JobsRequeued, Life


SUSPECT_AFTER = 15.0
LOST_AFTER = 120.0
YOUNG = 60.0
LARGE_POOL = 4
MISSED_AFTER = 8.0
"""Seconds after which an agent has missed a beat: they come every 5 s."""
SLOTS_OUTLIVE = 0.5
"""Seconds for the slots of a killed agent to die: what they still finish is not to run twice."""

_Chunks = list[tuple[Any, ...]]
"""Rows of the statement chunks_of_agent: id, class, submission, attempt, ranges, started."""


@dataclass(slots=True)
class _Pulse:
    """Hold when an agent's counter last moved and its process was found dead, by our own clock.

    It came before this coordinator where it is heard of since minus infinity.
    """

    info: AgentInfo
    beat: int
    moved: float
    since: float
    suspect: bool = False
    dead: float = math.inf


class Judge:
    """Watch the agents' beats and processes.

    Args:
        desk: What the duties share.
        applier: Reads the segments of those that are gone.
        monotonic: Gives seconds that never go back.
    """

    def __init__(
        self, desk: Desk, applier: Applier, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._desk = desk
        self._applier = applier
        self._monotonic = monotonic
        self._pulses: dict[str, _Pulse] = {}
        self._leases: dict[int, str] = {}
        self._cut: dict[str, float] = {}

    def start(self) -> None:
        """Know again the agents that were alive when the last coordinator left."""
        with self._desk.db.read() as tx:
            known = tx.all("live_agents")
        for agent, wire in known:
            info = AgentInfo.from_wire(msgpack.unpackb(wire))
            self._pulses[agent] = _Pulse(info, -1, self._monotonic(), -math.inf)

    def restart_watch(self) -> None:
        """Begin to listen anew: nobody is judged for a time in which the broker was away."""
        for pulse in self._pulses.values():
            pulse.moved = self._monotonic()

    def tick(self, now: float) -> None:
        """Take the survey, note changes, and end those that are gone."""
        self._desk.survey = survey = self._desk.broker.survey()
        moment = self._monotonic()
        for agent, info in survey.agents.items():
            self._see(agent, info, survey.beats.get(agent, 0), moment)
        self._note(survey.leases)
        for agent, why in self._gone(moment).items():
            self.end(agent, why, now)
        self._suspect(moment, now)

    def quiet(self) -> set[str]:
        """Return the agents that live as far as is known, but have been silent for a while."""
        now = self._monotonic()
        return {a for a, pulse in self._pulses.items() if now - pulse.moved > SUSPECT_AFTER}

    def life(self, agent: str) -> Life:
        """Return what an agent has shown of itself, up to the last beat that was heard.

        One that came and left between two looks has shown what its segment says.
        """
        pulse, applier = self._pulses.get(agent), self._applier
        if pulse is None:
            with self._desk.db.read() as tx:
                known = tx.execute("agent_info", agent).fetchone()
            unseen = Life(0.0, agent in applier.begun, agent in applier.ended)
            return unseen if known is None else BEFORE
        if math.isinf(pulse.since):
            return BEFORE
        return Life(pulse.moved - pulse.since, agent in applier.begun, agent in applier.ended)

    def end(self, agent: str, why: str, now: float, *, bye: str = "") -> None:
        """Give away all that an agent holds and forget it.

        Args:
            agent: The agent.
            why: left or lost.
            now: Unix time.
            bye: What it said itself, if it said good-bye.
        """
        self._applier.read_tails([f"{agent}.results"])
        life = self.life(agent)
        pulse = self._pulses.pop(agent, None)
        self._applier.begun.discard(agent)
        self._applier.ended.discard(agent)
        charged = why != "left"
        given = self._give_away(self._chunks(agent), charged=charged)
        with self._desk.db.write() as tx:
            tx.execute("end_agent", "lost" if charged else "gone", now, agent)
        self._desk.broker.forget(agent)
        if given:
            self._desk.bus.tell(JobsRequeued("agent_lost", given))
        pool = pulse.info.pool if pulse else ""
        self._desk.bus.tell(AgentEnded(agent, pool, why, bye, life))

    def _see(self, agent: str, info: AgentInfo, beat: int, moment: float) -> None:
        pulse = self._pulses.get(agent)
        if pulse is None or pulse.info != info:
            self._register(agent, info)
            since = moment if pulse is None else pulse.since
            self._pulses[agent] = _Pulse(info, beat, moment, since)
        elif beat != pulse.beat:
            pulse.beat, pulse.moved, pulse.suspect = beat, moment, False

    def _register(self, agent: str, info: AgentInfo) -> None:
        why = misfit(info)
        if why:
            self._desk.broker.control(agent, "refused", why=why)
            self._desk.bus.tell(AgentRefused(agent, info.pool, why))
        with self._desk.db.write() as tx:
            wire = msgpack.packb(info.to_wire())
            fields = (info.pool, info.host, info.pid, "starting", info.slots, info.started, wire)
            tx.execute("add_agent", agent, *fields)
        self._desk.bus.tell(AgentSeen(agent, info.pool))

    def _note(self, leases: dict[int, str]) -> None:
        """Write down new leases and changed states of agents."""
        fresh = [
            (agent, chunk) for chunk, agent in leases.items() if self._leases.get(chunk) != agent
        ]
        states = self._desk.survey.states
        with self._desk.db.read() as tx:
            shown = {row[0]: (row[4], row[6]) for row in tx.all("all_agents")}
        changed = {
            agent: state
            for agent, state in states.items()
            if agent in self._pulses and shown.get(agent) != (str(state[0]), state[1])
        }
        if fresh or changed:
            with self._desk.db.write() as tx:
                for agent, chunk in fresh:
                    tx.execute("give_chunk", agent, chunk, agent)
                for agent, (state, busy) in changed.items():
                    tx.execute("set_agent_state", str(state), busy, agent, str(state), busy)
        self._leases = leases

    def _gone(self, moment: float) -> dict[str, str]:
        gone: dict[str, str] = {}
        for agent, pulse in self._pulses.items():
            info = pulse.info
            if info.host == host_name() and info.boot == boot_id():
                if not is_alive(info.pid, info.pid_start):
                    pulse.dead = min(pulse.dead, moment)
                if moment - pulse.dead >= SLOTS_OUTLIVE:
                    left = agent not in self._desk.survey.agents
                    gone[agent] = "left" if left else "lost"
            elif agent not in self._desk.survey.agents and moment - pulse.moved > SUSPECT_AFTER:
                gone[agent] = "left"
            if moment - pulse.moved > LOST_AFTER:
                gone[agent] = "lost"
        return gone

    def _suspect(self, moment: float, now: float) -> None:
        self._note_cuts(moment)
        for agent, pulse in self._pulses.items():
            fine = pulse.suspect or moment - pulse.moved <= SUSPECT_AFTER
            if fine or moment - self._cut.get(pulse.info.pool, -SUSPECT_AFTER) < SUSPECT_AFTER:
                continue
            pulse.suspect = True
            young = [row for row in self._chunks(agent) if row[5] is None or now - row[5] < YOUNG]
            self._applier.read_tails([f"{agent}.results"])
            given = self._give_away(young, charged=True)
            if given:
                self._desk.bus.tell(JobsRequeued("agent_suspect", given))
        self._desk.suspects = frozenset(
            a for a, p in self._pulses.items() if p.suspect and p.info.host != host_name()
        )

    def _note_cuts(self, moment: float) -> None:
        """Note the pools of which more than half miss their beats at once."""
        mates = Counter(pulse.info.pool for pulse in self._pulses.values())
        missing = Counter(
            p.info.pool for p in self._pulses.values() if moment - p.moved > MISSED_AFTER
        )
        for pool, number in mates.items():
            if number >= LARGE_POOL and 2 * missing[pool] > number:
                self._cut[pool] = moment

    def _chunks(self, agent: str) -> _Chunks:
        with self._desk.db.read() as tx:
            return tx.all("chunks_of_agent", agent)

    def _give_away(
        self,
        chunks: _Chunks,
        *,
        charged: bool,
    ) -> int:
        """Queue again what is unfinished in chunks: the running job alone, its mates as ranges.

        In a chunk that the user made it goes with them.
        """
        applied = Applied()
        given = 0
        for chunk, _, submission, attempt, ranges, started in chunks:
            with self._desk.db.write() as tx:
                left = handed_out(tx, unpack_ranges(ranges), attempt)
                began = int(started is not None)
                whole = began and stays_together(tx, submission)
                mates = left[began:] if whole else NOBODY
                self._requeue(tx, left[:began], mates, charged=charged, applied=applied)
                if not whole:
                    queue_again(tx, left[began:], alone=False)
                tx.execute("drop_chunk", chunk)
                given += len(left)
            self._desk.broker.release(chunk)
        self._desk.tell_ended(applied)
        return given

    def _requeue(
        self, tx: Transaction, ids: Ids, mates: Ids, *, charged: bool, applied: Applied
    ) -> None:
        if not charged:
            queue_again(tx, np.concatenate((ids, mates)), alone=not len(mates))
            return
        worn_out = charge(tx, ids, applied, mates=mates)
        self._desk.expire(tx, worn_out, AGENT_LOST, applied)


def misfit(info: AgentInfo) -> str:
    """Return why an agent cannot work for this registry, "" where it can."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    if info.protocol[0] != PROTOCOL_MAJOR:
        return f"it speaks protocol {info.protocol[0]}, the coordinator {PROTOCOL_MAJOR}"
    if info.python and info.python != python:
        return f"it runs Python {info.python}, the registry's sessions {python}"
    return ""
