"""What the coordinator's duties share, and the few steps that several of them take."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import msgpack
import numpy as np

from batchpilot.pools import AgentPool, External, Local, Pool, RemotePool
from batchpilot.store.changing import ROW_DTYPE, Applied, apply_rows
from batchpilot.store.database import Database, Transaction
from batchpilot.store.pages import Ids, ranges_of
from batchpilot.store.replay import segment_of
from batchpilot_agent.segments import SegmentWriter
from batchpilot_broker.coordside import CoordinatorBroker, Survey
from batchpilot_broker.frames import HEADER, NO_PART, ROW, Kind, pack_frame, pack_row
from batchpilot_broker.nouns import Outcome, Reason, ResourceClass
from batchpilot_broker.paths import RegistryPaths

from .happenings import Bus, JobsEnded


@dataclass(frozen=True, slots=True)
class Verdict:
    """Say why the coordinator ends a job."""

    reason: Reason
    text: str


NEVER_FITS = Verdict(Reason.NEVER_FITS, "never fits: ten planned ends without an end of the job")
AGENT_LOST = Verdict(Reason.AGENT_LOST, "agent lost")


def _nothing() -> Survey:
    return Survey(agents={}, beats={}, states={}, leases={})


@dataclass(slots=True)
class Desk:
    """Hold what the duties share.

    Attributes:
        paths: The registry's files.
        instance: The registry's instance.
        db: Its database, fenced by the term.
        broker: The connection to the broker; replaced when the broker is.
        term: The coordinator's term.
        bus: Where happenings are told.
        segment: The coordinator's own segment, for what no agent wrote.
        segment_name: Its name.
        survey: The agents and leases as last seen.
        suspects: Agents of other hosts that are silent and may be dead.
        pools: The pools as last read.
        seed: The registry's seed.
        log_format: How agents are to write their logs, text or json.
    """

    paths: RegistryPaths
    instance: str
    db: Database
    broker: CoordinatorBroker
    term: int
    bus: Bus
    segment: SegmentWriter
    segment_name: str
    seed: int
    survey: Survey = field(default_factory=_nothing)
    suspects: frozenset[str] = frozenset()
    pools: list[Pool] = field(default_factory=list)
    log_format: str = "text"

    def slots(self) -> int:
        """Return the slots of all live agents, or of the first to come while there is none."""
        live = sum(agent.slots for agent in self.survey.agents.values())
        return (
            live
            or sum(
                pool.slots * max(1, pool.min_agents)
                for pool in self.pools
                if isinstance(pool, AgentPool)
            )
            or 1
        )

    def local_pools(self) -> list[Local]:
        """Return the pools whose agents this coordinator starts itself."""
        return [pool for pool in self.pools if isinstance(pool, Local)]

    def external_pools(self) -> list[External]:
        """Return the pools whose agents something else starts."""
        return [pool for pool in self.pools if isinstance(pool, External)]

    def remote_pools(self) -> list[RemotePool]:
        """Return the pools whose agents are asked for on other machines."""
        return [pool for pool in self.pools if isinstance(pool, RemotePool)]

    def waiting(self) -> list[tuple[ResourceClass, int]]:
        """Return the unfinished jobs of each class that has some."""
        with self.db.read() as tx:
            counts = dict(tx.all("unfinished_by_class"))
            classes = dict(tx.all("all_classes")) if counts else {}
        return [
            (ResourceClass.from_wire(msgpack.unpackb(classes[name])), n)
            for name, n in counts.items()
            if n
        ]

    def held(self) -> bool:
        """Tell whether the user has stopped the agents."""
        with self.db.read() as tx:
            return bool(tx.meta("agents_stopped", 0))

    def cancel_at_agents(self, ids: Ids, floor: int, agents: set[str]) -> None:
        """Tell agents to end jobs whose attempt is at most floor."""
        ranges = ranges_of(np.sort(ids)).tolist()
        for agent in sorted(agents):
            self.broker.control(agent, "cancel", ranges=ranges, attempt=floor)

    def write_note(self, kind: Kind, message: object) -> None:
        """Append a note to the coordinator's own segment."""
        self.segment.append(pack_frame(kind, msgpack.packb(message)))

    def expire(
        self,
        tx: Transaction,
        ids: Ids,
        verdict: Verdict,
        applied: Applied,
        *,
        began: bool = True,
    ) -> None:
        """End jobs for a reason that only the coordinator knows, by rows of its own segment."""
        if not len(ids):
            return
        body = msgpack.packb(verdict.text)
        now = time.time()
        started = now if began else 0.0
        rows = bytearray()
        for job, attempt in zip(ids.tolist(), tx.pages.take("attempt", ids).tolist(), strict=True):
            fields = (
                job,
                attempt,
                Outcome.EXPIRED,
                verdict.reason,
                0,
                0,
                started,
                now,
                NO_PART,
                0.0,
            )
            frame = pack_row(fields, body)
            position = self.segment.append(frame)
            rows += position.to_bytes(8, "little") + frame[HEADER.size : HEADER.size + ROW.size]
        number, _ = segment_of(tx, self.segment_name, "")
        apply_rows(tx, number, np.frombuffer(bytes(rows), ROW_DTYPE), applied)

    def tell_ended(self, applied: Applied) -> None:
        """Tell the bus which jobs ended, after the commit."""
        for rows in applied.ended:
            self.bus.tell(JobsEnded(rows))
