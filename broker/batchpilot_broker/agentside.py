"""What an agent does with the broker: announce itself, claim, finish, report, beat, listen, leave.

Every failure of the broker surfaces as a BrokerError; the agent then opens anew. RQ is not loaded
here: its keys are written by our scripts, for display only. A chunk is returned only after its
seal was found to match.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from .access import Access, is_replaced
from .connect import translated
from .display import SHOWN_FOR, WORKER_SHOWN_FOR, rq_time, worker_begins, worker_fields
from .errors import BrokerError, WireError
from .events import put_event
from .listener import Listener
from .nouns import AgentInfo, AgentState, Chunk, Report, ResourceClass
from .paths import RegistryPaths
from .payload import open_payload, stub
from .scripts import Word, script
from .shapes import check_counts, check_ranges
from .side import Side


T = TypeVar("T")

_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Hold what a beat tells the agent.

    Attributes:
        generation: Number of the broker's data now; 0 where it is lost.
        coordinator_alive: Whether a coordinator has shown itself within 10 s.
        unfinished: Jobs it still knows of, 0 where none lives.
        known: Whether the broker has this agent registered.
    """

    generation: int
    coordinator_alive: bool
    unfinished: int
    known: bool = True


class AgentBroker(Side):
    """Speak to the broker for one agent.

    Args:
        access: Where the broker is.
        secret: The registry's key.
        instance: The registry's instance.
    """

    def __init__(self, access: Access, secret: bytes, instance: str) -> None:
        super().__init__(access, secret, instance)
        self.generation = access.generation
        self._listener = Listener(access, self._client)
        self._stub = stub(self._seal)
        self._shown: frozenset[str] = frozenset()

    def register(self, info: AgentInfo) -> None:
        """Announce an agent, also to RQ's tools, as a worker of the queues it may serve.

        What its last beat said of it stays, where it announces itself again: the next beat may be
        seconds away.
        """
        keys, worker = self._keys, self._keys.worker_hash(info.id)
        served = {c for c, r in self.classes().items() if r.pool in ("", info.pool)}
        queues = sorted(map(keys.queue, served))
        with self._pipeline(transaction=True) as pipe:
            pipe.hset(keys.agents, info.id, self._seal.pack("agent", info.to_wire()))
            pipe.hsetnx(keys.beats, info.id, "0")
            pipe.hsetnx(keys.states, info.id, f"{AgentState.STARTING} 0")
            pipe.hset(worker, mapping=worker_fields(info, queues))
            for field, first in worker_begins(info).items():
                pipe.hsetnx(worker, field, first)
            pipe.expire(worker, WORKER_SHOWN_FOR)
            pipe.sadd("rq:workers", worker)
            for queue in queues:
                pipe.sadd(f"rq:workers:{queue}", worker)
        self._shown = frozenset(served)

    def classes(self) -> dict[str, ResourceClass]:
        """Return all classes announced so far; what is not sealed by us is only counted."""
        with translated(self._access):
            sealed: Any = self._client.hgetall(self._keys.classes)
        opened = {name: self._class(data) for name, data in sealed.items()}
        return {name.decode(): found for name, found in opened.items() if found is not None}

    def claim(self, agent: str, class_ids: Sequence[tuple[str, int]]) -> Chunk | None:
        """Lease the best chunk of some classes.

        Args:
            agent: Who claims.
            class_ids: Ids and priorities of the classes that it can serve now.

        Returns:
            The oldest chunk of the class with the highest priority, or None.

        Raises:
            ForgedMessage: The chunk is not the coordinator's. Its lease is dropped, nothing of it
                was decoded.
        """
        keys, now = self._keys, time.time()
        self._show(agent, frozenset(name for name, _ in class_ids))
        lists = [key for c, _ in class_ids for key in (keys.queue_list(c), keys.bell(c))]
        with translated(self._access):
            claimed = script("claim")(
                self._client,
                [keys.leases, keys.foreign, keys.gone, keys.again, *lists],
                [keys.prefix, agent, rq_time(now), now, *(priority for _, priority in class_ids)],
            )
        return None if claimed is None else self._chunk(agent, int(claimed[0]), claimed[2] or b"")

    def finish(self, agent: str, chunk: int, *, jobs: int, seconds: float) -> None:
        """End the lease of a chunk, if the agent still holds it.

        Args:
            agent: Who ran it.
            chunk: Number of the chunk.
            jobs: Jobs that were run.
            seconds: Seconds that were worked.
        """
        now = time.time()
        when: list[Word] = [rq_time(now), now]
        words = [self._keys.prefix, agent, chunk, *when, jobs, seconds, self._stub, SHOWN_FOR]
        with translated(self._access):
            script("finish")(self._client, [self._keys.leases], words)

    def hold(self, agent: str, chunks: Sequence[int]) -> None:
        """Lease again what the agent still runs, on a broker that has lost its data."""
        with self._pipeline(transaction=True) as pipe:
            for chunk in chunks:
                pipe.hsetnx(self._keys.leases, str(chunk), agent)

    def report(self, report: Report) -> None:
        """Tell the coordinator of a stretch of the result segment."""
        with translated(self._access):
            put_event(self._client, self._keys.events, self._seal, report.to_wire())

    def send(self, kind: str, **fields: Any) -> None:
        """Tell the coordinator of anything else."""
        with translated(self._access):
            put_event(self._client, self._keys.events, self._seal, {"kind": kind, **fields})

    def beat(self, agent: str, state: AgentState, busy: int, held: int) -> Beat:
        """Renew the lease on all that the agent holds, and learn how things stand.

        Args:
            agent: Who beats.
            state: What it does.
            busy: Slots that run a job.
            held: Chunks that it holds.
        """
        keys, worker = self._keys, self._keys.worker_hash(agent)
        shown = {"last_heartbeat": rq_time(time.time()), "state": "busy" if held else "idle"}
        with self._pipeline(transaction=False) as pipe:
            pipe.hincrby(keys.beats, agent, 1)
            pipe.hset(keys.states, agent, f"{state} {busy}")
            pipe.hset(worker, mapping=shown)
            pipe.expire(worker, WORKER_SHOWN_FOR)
            pipe.hexists(keys.agents, agent)
            pipe.get(keys.generation)
            pipe.get(keys.alive)
            *_, known, generation, unfinished = pipe.execute()
        return Beat(
            generation=_number(generation),
            coordinator_alive=unfinished is not None,
            unfinished=_number(unfinished),
            known=bool(known),
        )

    def leave(self, agent: str) -> None:
        """Remove what the agent put down about itself; the coordinator judges its leases."""
        keys = self._keys
        lists = [keys.control(agent), keys.agents, keys.beats, keys.states]
        with translated(self._access):
            script("leave")(self._client, lists, [keys.prefix, agent])

    def listen(self, agent: str, class_ids: Sequence[str]) -> None:
        """Wait for control messages and bells of classes; poll `fileno`, then `receive`."""
        bells = map(self._keys.bell, class_ids)
        if self._listener.wait([self._keys.control(agent), *bells]):
            self.wake(agent)

    def wake(self, agent: str) -> None:
        """End the pending wait by a message to oneself."""
        sealed = self._seal.pack("control", {"kind": "wake"})
        with translated(self._access):
            self._client.lpush(self._keys.control(agent), sealed)

    def fileno(self) -> int | None:
        """Return the descriptor to poll for reading, or None while nothing is waited for."""
        return self._listener.fileno()

    def receive(self) -> list[dict[str, Any]]:
        """Return what came, without blocking; where that is something, `listen` is due again.

        Returns:
            Control messages, and bells as `{"kind": "bell", "class": …}`.
        """
        taken = self._listener.take()
        return [message for key, data in taken for message in self._messages(key.decode(), data)]

    def replaced(self, paths: RegistryPaths) -> bool:
        """Tell whether the registry names another broker now."""
        return is_replaced(paths, self._access)

    def close(self) -> None:
        """Let go of the broker; leases stay."""
        self._listener.close()
        self._client.close()

    def _messages(self, key: str, data: bytes) -> Iterator[dict[str, Any]]:
        bell = self._keys.bell("")
        if key.startswith(bell):
            yield {"kind": "bell", "class": key.removeprefix(bell)}
            return
        with translated(self._access):
            more: Any = self._client.lpop(key, _AT_ONCE)
        for sealed in (data, *(more or ())):
            message = self._opened("control", sealed, _control)
            if message is not None:
                yield message

    def _class(self, sealed: bytes) -> ResourceClass | None:
        return self._opened("class", sealed, ResourceClass.from_wire)

    def _opened(self, purpose: str, sealed: bytes, read: Callable[[Any], T]) -> T | None:
        """Return what is read from a sealed message; what cannot be read is counted."""
        try:
            return read(self._seal.open(purpose, sealed))
        except (WireError, LookupError, TypeError, ValueError):
            with translated(self._access):
                self._client.incr(self._keys.forged)
        return None

    def _chunk(self, agent: str, number: int, data: bytes) -> Chunk:
        try:
            return open_payload(self._seal, data, number)
        except WireError:
            keys = [self._keys.leases, self._keys.forged]
            with translated(self._access):
                script("drop")(self._client, keys, [self._keys.prefix, agent, number])
            raise

    def _show(self, agent: str, class_ids: frozenset[str]) -> None:
        """Show the agent as a worker of classes that it serves since."""
        if class_ids <= self._shown:
            return
        self._shown |= class_ids
        worker = self._keys.worker_hash(agent)
        with translated(self._access):
            known: Any = self._client.hget(worker, "queues")
        if known is None:
            return
        queues = {*known.decode().split(","), *map(self._keys.queue, class_ids)} - {""}
        with self._pipeline(transaction=True) as pipe:
            pipe.hset(worker, "queues", ",".join(sorted(queues)))
            for queue in queues:
                pipe.sadd(f"rq:workers:{queue}", worker)

    @contextmanager
    def _pipeline(self, *, transaction: bool) -> Iterator[Any]:
        """Send what the block puts into a pipeline at its end, if the block has not done so."""
        with translated(self._access), self._client.pipeline(transaction=transaction) as pipe:
            yield pipe
            pipe.execute()


def _control(message: Any) -> dict[str, Any]:
    """Return a control message, if it is one that can be obeyed."""
    if message["kind"] == "cancel":
        check_ranges(message["ranges"])
        check_counts((message["attempt"],))
    return dict(message)


def _number(value: bytes | None) -> int:
    try:
        return int(value or 0)
    except ValueError as error:
        raise BrokerError(
            f"the broker holds {value!r} where a number belongs",
            remedy="somebody else writes to its keys; give batchpilot a broker of its own",
        ) from error
