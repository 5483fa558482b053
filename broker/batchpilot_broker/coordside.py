"""What the coordinator does with the broker: feed, read events, survey agents, end leases.

Every change is made by a script that compares the coordinator's term with the one in office, so
that one that was superseded changes nothing any more and learns it by TermSuperseded.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from .access import Access, is_replaced, no_broker, read_secret
from .accounts import read_office
from .connect import broker_time, translated
from .errors import BrokerUnavailable, WireError
from .events import Event, opened
from .generation import settle_generation, wipe
from .nouns import AgentInfo, AgentState, Chunk, ResourceClass
from .paths import RegistryPaths
from .rqueues import chunk_fields
from .scripts import Word, script
from .side import Side


K = TypeVar("K")
V = TypeVar("V")

ALIVE_MS = 10_000
ANSWER_MS = 60_000
BELLS_KEPT = 1000
LONGEST_BLOCK_MS = 4000
"""Shorter than the socket's timeout, which would take a longer wait for a dead broker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Hold what the broker knows of agents at one moment.

    Attributes:
        agents: What each agent announced.
        beats: Their counters; a counter that moves is an agent that lives.
        states: State and busy slots of each.
        leases: Agent that holds a chunk, by chunk number.
    """

    agents: dict[str, AgentInfo]
    beats: dict[str, int]
    states: dict[str, tuple[AgentState, int]]
    leases: dict[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerStatus:
    """Hold how the broker fares; all but `up` is 0 or empty while it does not answer."""

    up: bool
    roundtrip_seconds: float = 0.0
    memory_bytes: int = 0
    clients: int = 0
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Hold the events that nobody has applied yet; ages are by the broker's own clock."""

    events: int = 0
    oldest_seconds: float = 0.0


class CoordinatorBroker(Side):
    """Speak to the broker for the coordinator.

    Args:
        access: Where the broker is.
        secret: The registry's key.
        instance: The registry's instance.

    Attributes:
        rejected: How many messages were not what they should be, by reason.
        pulse: How often a coordinator has said that it lives, as far as this one knows.
    """

    def __init__(self, access: Access, secret: bytes, instance: str) -> None:
        super().__init__(access, secret, instance)
        self.rejected: Counter[str] = Counter()
        self._term = 0
        self.pulse = 0
        self._agents: dict[bytes, AgentInfo] = {}

    @classmethod
    def open(cls, paths: RegistryPaths, instance: str) -> Self:
        """Return the broker that the registry's record names, with the coordinator's account on it.

        Raises:
            BrokerUnavailable: There is no record, or nobody answers.
            BrokerRefused: The password is not the broker's.
        """
        access = read_office(paths, instance)
        if access is None:
            raise no_broker(paths)
        return cls(access, read_secret(paths), instance)

    def take(self, term: int) -> None:
        """Take office; taking one's own term again is harmless.

        Raises:
            TermSuperseded: A later term is in office.
        """
        self._script("take", [self._keys.term], [term])
        self._term = term

    def settle_generation(self, highest: int, *, pulse: int = 0) -> int:
        """Return the number of the broker's data; a new one where they are lost or too old.

        Args:
            highest: Highest generation that this coordinator has seen.
            pulse: Its last pulse at the broker before this one, see `alive`.
        """
        with translated(self._access):
            return settle_generation(self._client, self._keys.instance, highest, pulse=pulse)

    def feed(self, chunks: Sequence[Chunk], *, again: int = 0) -> int:
        """Queue chunks in one step; one that is queued or leased already is left alone.

        Args:
            chunks: The chunks, in the order to run.
            again: How many of them, from the first, hold jobs that were handed out before: they go
                to the head of their queues.

        Returns:
            Bytes of their payloads.
        """
        words: list[Word] = [self._term, self._keys.prefix, BELLS_KEPT]
        size = 0
        for number, chunk in enumerate(chunks):
            fields = chunk_fields(self._keys, self._seal, chunk)
            flat = [word for field in fields.items() for word in field]
            queue, bell = self._keys.queue(chunk.class_id), self._keys.bell(chunk.class_id)
            words += [chunk.id, queue, bell, int(number < again), len(flat), *flat]
            size += len(fields["data"])  # type: ignore[arg-type]  # data are bytes
        self._script("feed", [self._keys.term, self._keys.leases, self._keys.again], words)
        return size

    def withdraw(self, class_id: str, chunks: Sequence[int]) -> list[int]:
        """Take back chunks that nobody has claimed yet.

        Returns:
            Those that were still queued.
        """
        keys = [self._keys.term, self._keys.queue_list(class_id), self._keys.again]
        return _numbers(self._script("withdraw", keys, [self._term, self._keys.prefix, *chunks]))

    def announce(self, class_id: str, resources: ResourceClass) -> None:
        """Make a resource class known to all agents."""
        sealed = self._seal.pack("class", resources.to_wire())
        grown = self._seal.pack("control", {"kind": "classes"})
        with translated(self._access):
            agents: Any = self._client.hkeys(self._keys.agents)
        told = [("RPUSH", self._keys.control(agent.decode()), grown) for agent in agents]
        self._run(("HSET", self._keys.classes, class_id, sealed), *told)

    def read(self, after: str, *, block_ms: int, count: int = 200) -> list[tuple[str, Event]]:
        """Return events behind a stream id, with their ids.

        Args:
            after: Id of the last event read, "0" for the beginning.
            block_ms: Milliseconds to wait for the first one, at most 4000; 0 does not wait.
            count: Most events to return.
        """
        block = min(block_ms, LONGEST_BLOCK_MS) if block_ms > 0 else None
        with translated(self._access):
            found: Any = self._client.xread({self._keys.events: after}, count=count, block=block)
        entries = found[0][1] if found else ()
        events = [(number.decode(), opened(self._seal, entry)) for number, entry in entries]
        self.rejected.update(
            e["why"] for _, e in events if isinstance(e, dict) and e["kind"] == "rejected"
        )
        return events

    def trim(self, upto: str) -> None:
        """Drop all events up to an id, this one too."""
        milliseconds, _, number = upto.partition("-")
        following = f"{milliseconds}-{int(number or 0) + 1}"
        self._run(("XTRIM", self._keys.events, "MINID", "=", following))

    def survey(self) -> Survey:
        """Return all that is known of agents and leases, in one round trip."""
        keys = self._keys
        with translated(self._access), self._client.pipeline(transaction=True) as pipe:
            for name in (keys.agents, keys.beats, keys.states, keys.leases):
                pipe.hgetall(name)
            agents, beats, states, leases = pipe.execute()
        return Survey(
            agents=self._infos(agents),
            beats=dict(self._readable(beats, lambda agent, beat: (agent.decode(), int(beat)))),
            states=dict(self._readable(states, lambda agent, s: (agent.decode(), _state(s)))),
            leases=self._holders(leases),
        )

    def agents(self) -> dict[str, AgentInfo]:
        """Return what each agent announced; what is not sealed by us is counted and left out."""
        return self.survey().agents

    def beats(self) -> dict[str, int]:
        """Return each agent's counter."""
        return self.survey().beats

    def states(self) -> dict[str, tuple[AgentState, int]]:
        """Return state and busy slots of each agent."""
        return self.survey().states

    def leases(self) -> dict[int, str]:
        """Return the agent that holds each leased chunk."""
        with translated(self._access):
            leases: Any = self._client.hgetall(self._keys.leases)
        return self._holders(leases)

    def queued(self, class_id: str) -> list[int]:
        """Return the chunks queued for a class, head first."""
        with translated(self._access):
            jobs: Any = self._client.lrange(self._keys.queue_list(class_id), 0, -1)
        return [number for number in map(self._keys.chunk, jobs) if number is not None]

    def depths(self, class_ids: Sequence[str]) -> dict[str, int]:
        """Return how many chunks are queued for each class."""
        with translated(self._access), self._client.pipeline(transaction=False) as pipe:
            for class_id in class_ids:
                pipe.llen(self._keys.queue_list(class_id))
            return dict(zip(class_ids, pipe.execute(), strict=True))

    def control(self, agent: str, kind: str, **fields: Any) -> None:
        """Send a message to one agent."""
        sealed = self._seal.pack("control", {"kind": kind, **fields})
        self._run(("RPUSH", self._keys.control(agent), sealed))

    def release(self, chunk: int) -> None:
        """End the lease of a chunk, whoever holds it."""
        keys = [self._keys.term, self._keys.leases]
        self._script("release", keys, [self._term, self._keys.prefix, chunk])

    def forget(self, agent: str) -> list[int]:
        """Remove a lost agent and end its leases.

        Returns:
            The chunks it held.
        """
        keys = self._keys
        lists = [keys.term, keys.leases, keys.control(agent), keys.agents, keys.beats, keys.states]
        return _numbers(self._script("forget", lists, [self._term, keys.prefix, agent]))

    def alive(self, unfinished: int) -> None:
        """Show agents for 10 s that a coordinator lives, and how many jobs are unfinished.

        Each time the pulse is counted up. It shows when the broker has gone back to an older state,
        which a connection that is opened anew by itself does not.

        Raises:
            BrokerUnavailable: It has.
        """
        shown = ("SET", self._keys.alive, unfinished, "PX", ALIVE_MS)
        _, pulse = self._run(shown, ("INCR", self._keys.pulse))
        if self.pulse and int(pulse) <= self.pulse:
            self.pulse += 1  # an older state is one without this one
            raise BrokerUnavailable(
                "the broker has gone back to an older state", remedy="it is filled anew"
            )
        self.pulse = int(pulse)

    def answer(self, request: str, message: dict[str, Any]) -> None:
        """Answer a request of a session on another host; it has a minute to fetch it."""
        key = self._keys.answer(request)
        sealed = self._seal.pack("request", {**message, "id": request})
        self._run(("RPUSH", key, sealed), ("PEXPIRE", key, ANSWER_MS))

    def clock(self) -> float:
        """Return the Unix time of the broker, which is the same for all who ask it."""
        with translated(self._access):
            return broker_time(self._client)

    def status(self) -> BrokerStatus:
        """Return how the broker fares, also where it does not answer."""
        started = time.perf_counter()
        try:
            with translated(self._access):
                self._client.ping()
                roundtrip = time.perf_counter() - started
                info: Any = self._client.info()
        except BrokerUnavailable:
            return BrokerStatus(up=False)
        return BrokerStatus(
            up=True,
            roundtrip_seconds=roundtrip,
            memory_bytes=int(info["used_memory"]),
            clients=int(info["connected_clients"]),
            version=str(info.get("valkey_version", info["redis_version"])),
        )

    def backlog(self) -> Backlog:
        """Return what is left of the event stream, which is trimmed as it is applied."""
        with translated(self._access), self._client.pipeline(transaction=True) as pipe:
            pipe.xlen(self._keys.events)
            pipe.xrange(self._keys.events, count=1)
            pipe.time()
            events, first, (seconds, micros) = pipe.execute()
        if not first:
            return Backlog()
        written = int(first[0][0].partition(b"-")[0]) / 1000
        return Backlog(events=events, oldest_seconds=max(0.0, seconds + micros / 1e6 - written))

    def check_named(self, paths: RegistryPaths) -> None:
        """Refuse to go on with a broker that the registry names no more.

        What it holds of the registry is removed, so that no agent goes on with that either.

        Raises:
            BrokerUnavailable: It names another one.
        """
        if is_replaced(paths, self._access):
            with translated(self._access):
                wipe(self._client, self._keys.instance)
            raise BrokerUnavailable(
                "the registry names another broker now", remedy="nothing is to be done: it is used"
            )

    def _script(self, name: str, keys: Sequence[str], words: Sequence[Word]) -> Any:
        with translated(self._access):
            return script(name)(self._client, keys, words)

    def _run(self, *commands: Sequence[Word]) -> Any:
        """Run plain commands, all or, where the term is not in office, none."""
        words: list[Word] = [w for command in commands for w in (len(command), *command)]
        return self._script("fenced", [self._keys.term], [self._term, *words])

    def _readable(
        self, raw: dict[bytes, bytes], read: Callable[[bytes, bytes], tuple[K, V]]
    ) -> Iterator[tuple[K, V]]:
        """Yield the fields of a hash that can be read; others are counted."""
        for name, value in raw.items():
            try:
                yield read(name, value)
            except ValueError:
                self.rejected["unreadable"] += 1

    def _holders(self, leases: dict[bytes, bytes]) -> dict[int, str]:
        return dict(self._readable(leases, lambda chunk, agent: (int(chunk), agent.decode())))

    def _infos(self, sealed: dict[bytes, bytes]) -> dict[str, AgentInfo]:
        infos = dict(self._readable(sealed, lambda agent, d: (agent.decode(), self._info(d))))
        self._agents = {d: i for d in sealed.values() if (i := self._agents.get(d)) is not None}
        return {agent: info for agent, info in infos.items() if info is not None}

    def _info(self, sealed: bytes) -> AgentInfo | None:
        if sealed not in self._agents:
            try:
                self._agents[sealed] = AgentInfo.from_wire(self._seal.open("agent", sealed))
            except (WireError, LookupError, TypeError, ValueError):
                self.rejected["agent"] += 1
                return None
        return self._agents[sealed]


def _state(value: bytes) -> tuple[AgentState, int]:
    state, _, busy = value.decode().partition(" ")
    return AgentState(state), int(busy or 0)


def _numbers(chunks: list[bytes]) -> list[int]:
    return [int(chunk) for chunk in chunks]
