"""The nouns of the wire: what coordinator and agents tell each other, and nothing else.

Plain frozen data, no behaviour beyond turning itself into and out of the lists and maps that
msgpack carries. `docs/protocol.md` is the authority for their fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum, StrEnum
from math import isfinite
from typing import Any

from .frames import EVENT_ROW_SIZE, NO_PART
from .shapes import NUMBER, Types, check, check_counts, check_name, check_ranges


PROTOCOL_MAJOR = 1
PROTOCOL_MINOR = 0

JobRange = tuple[int, int]
"""First and last job id, both included."""


class Outcome(IntEnum):
    """How an attempt ended, as written in the row of a record."""

    DONE = 1
    ERROR = 2
    EXPIRED = 3
    LOST = 4


class Reason(IntEnum):
    """Why an attempt ended without its function returning; `text` says it to people."""

    NONE = 0
    SIGNAL = 1
    EXIT = 2
    MEMORY = 3
    WALLTIME = 4
    AGENT_LOST = 5
    NEVER_FITS = 6
    PREDECESSOR = 7
    HANDED_BACK = 8
    TEMPLATE = 9

    @property
    def text(self) -> str:
        """Return the reason in the words shown to users."""
        return {0: "", 5: "agent lost", 6: "never fits"}.get(self, self.name.lower())


class Isolation(StrEnum):
    """How far a job is kept from its neighbours."""

    AUTO = "auto"
    PROCESS = "process"
    SLOT = "slot"


class AgentState(StrEnum):
    """What an agent says of itself."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceClass:
    """Hold what the jobs of one queue need of an agent.

    Attributes:
        ncpus: Cores a job uses.
        memory: MB a job may use, 0 for unlimited.
        gpus: Devices a job uses.
        walltime: Seconds a job may run, 0 for unlimited.
        pool: Name of the only pool that may run it, "" for any.
        threads: (omp_threads, blas_threads).
        isolation: auto, process or slot.
        priority: Larger runs earlier.
        measure_memory: Whether the peak memory of each job is recorded.
        template: Variables for the job script, sorted by name.
    """

    ncpus: int = 1
    memory: float = 0.0
    gpus: int = 0
    walltime: float = 0.0
    pool: str = ""
    threads: tuple[int, int] = (1, 1)
    isolation: Isolation = Isolation.AUTO
    priority: int = 0
    measure_memory: bool = False
    template: tuple[tuple[str, Any], ...] = ()

    def to_wire(self) -> dict[str, Any]:
        """Return the map that msgpack carries."""
        wire = asdict(self)
        wire["isolation"] = str(self.isolation)
        return wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> ResourceClass:
        """Return the class that a map describes; unknown fields of a newer minor are dropped."""
        known = {name: wire[name] for name in cls.__dataclass_fields__ if name in wire}
        check(known, _RESOURCES)
        known["threads"] = tuple(known.get("threads", (1, 1)))
        check_counts(known["threads"])
        known["isolation"] = Isolation(known.get("isolation", "auto"))
        known["template"] = tuple((k, v) for k, v in known.get("template", ()))
        return cls(**known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Hold the jobs handed out together: one RQ job, one lease.

    Attributes:
        id: Number of the chunk, never reused in a registry.
        class_id: Hex name of its resource class.
        epoch: Hash of the epoch's manifest in `objects/`.
        attempt: Attempt number of every job in it.
        ranges: Job ids in the order they are to run.
        offsets: Little-endian uint32, one more than there are jobs: where each job's
            parameters start in `pars`.
        pars: The jobs' parameters, one pickle each, end to end.
        budget: Seconds after which unstarted jobs are handed back.
        isolation: process or slot, decided by the coordinator.
        resources: The resource class as a map, for limits.
        seed: Seed of the registry.
        shown: Resources as the user wrote them, for `job.resources`.
        whole: Whether its jobs stay together: none is handed back because others take long.
    """

    id: int
    class_id: str
    epoch: str
    attempt: int
    ranges: tuple[JobRange, ...]
    offsets: bytes
    pars: bytes
    budget: float
    isolation: Isolation
    resources: ResourceClass
    seed: int
    shown: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False

    @property
    def size(self) -> int:
        """Return the number of jobs."""
        return sum(last - first + 1 for first, last in self.ranges)

    def ids(self) -> list[int]:
        """Return the job ids in the order they are to run."""
        return [job for first, last in self.ranges for job in range(first, last + 1)]

    def to_wire(self) -> dict[str, Any]:
        """Return the map that msgpack carries."""
        return {
            "id": self.id,
            "class": self.class_id,
            "epoch": self.epoch,
            "attempt": self.attempt,
            "ranges": [list(r) for r in self.ranges],
            "offsets": self.offsets,
            "pars": self.pars,
            "budget": self.budget,
            "isolation": str(self.isolation),
            "resources": self.resources.to_wire(),
            "seed": self.seed,
            "shown": dict(self.shown),
            **({"whole": True} if self.whole else {}),
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Chunk:
        """Return the chunk that a map describes."""
        check(wire, _CHUNK)
        check_ranges(wire["ranges"])
        chunk = cls(
            id=wire["id"],
            class_id=wire["class"],
            epoch=wire["epoch"],
            attempt=wire["attempt"],
            ranges=tuple((first, last) for first, last in wire["ranges"]),
            offsets=wire["offsets"],
            pars=wire["pars"],
            budget=wire["budget"],
            isolation=Isolation(wire["isolation"]),
            resources=ResourceClass.from_wire(wire["resources"]),
            seed=wire["seed"],
            shown=wire.get("shown", {}),
            whole=wire.get("whole", False),
        )
        if len(chunk.offsets) != OFFSET_SIZE * (chunk.size + 1):
            raise ValueError("offsets")
        return chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentInfo:
    """Hold what an agent announces of itself when it registers.

    Attributes:
        id: Name of the agent, unique in the registry for ever.
        pool: Pool that started it.
        host: Name of its machine.
        boot: Boot id of that machine.
        pid: Process that renews the lease.
        pid_start: Start time of that process in clock ticks, against reused pids.
        slots: Most jobs at once.
        cores: Cores it may use.
        memory: MB it may use, 0 for unknown.
        gpus: Devices it may use.
        deadline: Unix time at which its allocation ends, 0 while none is known.
        started: Unix time of its start.
        protocol: (major, minor).
        python: Minor version, "3.11".
        cloudpickle: Version of cloudpickle.
        allocation: Its allocation and element there, as "3f2a.7", "" for none.
        scheduler_id: Its name in the batch system, "" outside of any.
        registry: Where it has the registry's directory.
    """

    id: str
    pool: str
    host: str
    boot: str
    pid: int
    pid_start: int
    slots: int
    cores: int
    memory: float = 0.0
    gpus: int = 0
    deadline: float = 0.0
    started: float = 0.0
    protocol: tuple[int, int] = (PROTOCOL_MAJOR, PROTOCOL_MINOR)
    python: str = ""
    cloudpickle: str = ""
    allocation: str = ""
    scheduler_id: str = ""
    registry: str = ""

    def to_wire(self) -> dict[str, Any]:
        """Return the map that msgpack carries."""
        return asdict(self)

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> AgentInfo:
        """Return the agent that a map describes."""
        known = {name: wire[name] for name in cls.__dataclass_fields__ if name in wire}
        check(known, _AGENT)
        known["protocol"] = tuple(known["protocol"])
        check_counts((*known["protocol"], known["slots"], known["cores"]))
        check_name(known["id"])
        return cls(**known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Hold one event of an agent: the rows of a stretch of its result segment.

    Attributes:
        agent: Id of the agent.
        segment: Name of the result segment.
        start: Offset in the segment where the stretch begins.
        end: Offset behind its last byte.
        rows: `frames.EVENT_ROW` records, one per outcome, in segment order.
        notes: (kind, payload) of the other frames (chunk started, ended, handed back),
            in segment order.
        running: (job, attempt, started, log position) of jobs that run longer than 50 ms.
    """

    agent: str
    segment: str
    start: int
    end: int
    rows: bytes
    notes: tuple[tuple[int, bytes], ...] = ()
    running: tuple[tuple[int, int, float, int], ...] = ()

    def to_wire(self) -> dict[str, Any]:
        """Return the map that msgpack carries."""
        return {
            "kind": "report",
            "agent": self.agent,
            "segment": self.segment,
            "from": self.start,
            "to": self.end,
            "rows": self.rows,
            "notes": [list(n) for n in self.notes],
            "running": [list(r) for r in self.running],
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Report:
        """Return the report that a map describes."""
        report = cls(
            agent=wire["agent"],
            segment=wire["segment"],
            start=wire["from"],
            end=wire["to"],
            rows=wire["rows"],
            notes=tuple((k, p) for k, p in wire["notes"]),
            running=tuple((j, a, t, p) for j, a, t, p in wire["running"]),
        )
        report.check()
        return report

    def check(self) -> None:
        """Check that all is as its reader counts on.

        Raises:
            TypeError: A field is of another type.
            ValueError: A field has an impossible value.
        """
        check_name(self.agent)
        check_name(self.segment)
        check_counts((self.start, self.end))
        if type(self.rows) is not bytes or len(self.rows) % EVENT_ROW_SIZE:
            raise ValueError("rows")
        for kind, payload in self.notes:
            if type(kind) is not int or type(payload) is not bytes:
                raise TypeError("notes")
        for job, attempt, started, position in self.running:
            check_ranges(((job, job),))
            check_counts((attempt, 0 if position == NO_PART else position))
            if type(started) not in NUMBER or not isfinite(started):
                raise ValueError("running")


OFFSET_SIZE = 4

_RESOURCES: Types = {
    **dict.fromkeys(("ncpus", "gpus", "priority"), int),
    **dict.fromkeys(("memory", "walltime"), NUMBER),
    "pool": str,
    "measure_memory": bool,
}
_CHUNK: Types = {
    **dict.fromkeys(("id", "attempt", "seed"), int),
    **dict.fromkeys(("class", "epoch", "isolation"), str),
    **dict.fromkeys(("offsets", "pars"), bytes),
    "budget": NUMBER,
    "resources": dict,
    "shown": dict,
}
_AGENT: Types = {
    **dict.fromkeys(("id", "pool", "host", "boot", "python", "cloudpickle", "allocation"), str),
    **dict.fromkeys(("pid", "pid_start", "slots", "cores", "gpus"), int),
    **dict.fromkeys(("memory", "deadline", "started"), NUMBER),
}
