"""A pilot's place, played by the tests: real templates and slots over real sockets."""

from __future__ import annotations

import mmap
import os
import pickle
import secrets
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import msgpack
import pytest

from batchpilot.epochs import Definition, describe_function, pickle_function, store_epoch
from batchpilot_agent.channel import LENGTH, pack_message
from batchpilot_agent.objects import ObjectStore
from batchpilot_agent.segments import create_segment
from batchpilot_agent.words import NO_LIMIT, WORDS, WORDS_SIZE
from batchpilot_broker.frames import (
    HEADER,
    LOG,
    NO_PART,
    ROW,
    ROW_FIELDS,
    Frame,
    Kind,
    frame_at,
    scan,
)
from batchpilot_broker.paths import RegistryPaths


PATIENCE = 60.0
SLOTS = 4


@dataclass(frozen=True)
class Row:
    """One outcome as it stands in the segment."""

    job: int
    attempt: int
    outcome: int
    reason: int
    slot: int
    log_size: int
    started: float
    ended: float
    log_pos: int
    memory: float
    size: int
    body: bytes

    @property
    def value(self) -> Any:
        """Return the result."""
        assert self.outcome == 1, self.error

        return pickle.loads(self.body)  # noqa: S301 - our own slot wrote it

    @property
    def error(self) -> list[str]:
        """Return type, message and traceback."""
        assert self.outcome == 2

        found: list[str] = msgpack.unpackb(self.body)
        return found


_ROW_NAMES = [name for name, _ in ROW_FIELDS if name != "pos"]


class Talk:
    """A socket to a slot, read with a deadline."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE)

    def send(self, message: list[Any]) -> None:
        """Send a message."""
        self.sock.sendall(pack_message(message))

    def receive(self) -> list[Any] | None:
        """Return the next message, None at the end."""
        head = self._read(LENGTH.size)
        if head is None:
            return None
        body = self._read(LENGTH.unpack(head)[0])
        return msgpack.unpackb(body) if body is not None else None

    def _read(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            try:
                more = self.sock.recv(size - len(data))
            except ConnectionResetError:
                return None
            if not more:
                return None
            data += more
        return data


@dataclass
class SlotProcess:
    """A slot as the pilot sees it."""

    agent: Agent
    number: int
    serial: int
    pid: int
    talk: Talk
    orders: int = 0

    def order(  # noqa: PLR0913 - the fields of an order
        self,
        values: Sequence[tuple[Any, ...] | bytes],
        *,
        ids: Sequence[int] | None = None,
        isolation: str = "slot",
        seed: int = 1,
        attempt: int = 1,
        chunk: int = 7,
        shown: dict[str, Any] | None = None,
        variables: dict[str, str] | None = None,
    ) -> None:
        """Send an order without waiting for its end."""
        self.orders += 1
        ids = list(ids or range(1, len(values) + 1))
        pickles = [v if isinstance(v, bytes) else cloudpickle.dumps(v) for v in values]
        offsets = [0]
        for one in pickles:
            offsets.append(offsets[-1] + len(one))
        self.talk.send(
            [
                "run",
                self.orders,
                chunk,
                attempt,
                [[job, job] for job in ids],
                struct.pack(f"<{len(offsets)}I", *offsets),
                b"".join(pickles),
                isolation,
                seed,
                shown or {},
                variables or {},
            ]
        )

    def end(self) -> list[Any]:
        """Wait for the end of an order: [ran, why]."""
        message = self.talk.receive()
        assert message is not None, "the slot is gone"
        kind, serial, ran, _seconds, why = message

        assert (kind, serial) == ("end", self.orders)
        return [ran, why]

    def run(self, values: Sequence[tuple[Any, ...] | bytes], **options: Any) -> list[Any]:
        """Send an order and wait for its end."""
        self.order(values, **options)
        return self.end()

    def gone(self) -> bool:
        """Wait for the end of the process's socket."""
        return self.talk.receive() is None

    def words(self) -> tuple[Any, ...]:
        """Return the slot's words."""
        return WORDS.unpack_from(self.agent.words, self.number * WORDS_SIZE)

    def set_limit(self, limit: int) -> None:
        """Say at which position no job may start."""
        struct.pack_into("<I", self.agent.words, self.number * WORDS_SIZE + 16, limit)


@dataclass
class Template:
    """A template process and the pilot's end of its socket."""

    agent: Agent
    process: subprocess.Popen[bytes]
    control: socket.socket
    slots: dict[int, SlotProcess] = field(default_factory=dict)

    def hear(self) -> list[Any]:
        """Wait for a packet; [] when the template is gone."""
        packet = self.control.recv(1 << 20)
        return msgpack.unpackb(packet) if packet else []

    def fork(self, number: int = 0) -> SlotProcess:
        """Have a slot forked."""
        serial = next(self.agent.serials)
        WORDS.pack_into(self.agent.words, number * WORDS_SIZE, 0, 0, 0.0, NO_LIMIT, 0, 0, 0, 0)
        ours, theirs = socket.socketpair()
        packet = msgpack.packb(["fork", number, serial])
        socket.send_fds(self.control, [packet], [theirs.fileno()])
        theirs.close()
        kind, *rest, pid = self.hear()
        assert (kind, rest) == ("forked", [number, serial])
        slot = SlotProcess(self.agent, number, serial, pid, Talk(ours))
        self.slots[pid] = slot
        return slot

    def ended(self) -> tuple[int, int]:
        """Wait for the end of a slot: (pid, wait status)."""
        kind, _number, _serial, pid, status, maxrss = self.hear()

        assert kind == "ended"
        assert maxrss > 1000
        return pid, status

    def close(self) -> None:
        """End what was started."""
        for slot in self.slots.values():
            slot.talk.sock.close()
        self.control.close()
        self.process.wait(PATIENCE)


class Agent:
    """A registry's directory, an agent's files in it, and its templates."""

    def __init__(self, root: Path) -> None:
        self.paths = RegistryPaths(root / "registry")
        for directory in (self.paths.objects, self.paths.segments):
            directory.mkdir(mode=0o700, parents=True)
        self.scratch = root / "scratch"
        self.scratch.mkdir(mode=0o700)
        self.work_dir = root / "work"
        self.work_dir.mkdir()
        self.id = "agent1"
        for path in (self.paths.results(self.id), self.paths.job_logs(self.id)):
            create_segment(path, self.id, "instance")
        self.store = ObjectStore(self.paths.objects)
        self.words_fd = os.memfd_create("words")
        os.ftruncate(self.words_fd, SLOTS * WORDS_SIZE)
        self.words = mmap.mmap(self.words_fd, SLOTS * WORDS_SIZE)
        self.serials = iter(range(1, 1_000_000))
        self.templates: list[Template] = []
        self.log = root / "agent.log"

    def epoch(
        self,
        fun: Callable[..., Any],
        names: Sequence[str] = ("x",),
        *,
        more_args: Any = None,
        positional: Sequence[str] | None = None,
    ) -> str:
        """Store a function with the code it needs, as a submission does."""
        shape = describe_function(fun)
        if positional is None:
            positional = [name for name in shape.positional if name in names]
        definition = Definition(
            function=self.store.put(pickle_function(fun)),
            names=tuple(names),
            positional=tuple(positional),
            passes_job=shape.passes_job,
            more_args=self.store.put(cloudpickle.dumps(more_args)) if more_args else None,
        )
        return store_epoch(self.store, definition, work_dir=self.work_dir)

    def start(self, epoch: str, env: dict[str, str] | None = None) -> Template:
        """Start a template, without waiting for it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(PATIENCE)
        options = {
            "registry": self.paths.root,
            "epoch": epoch,
            "control": theirs.fileno(),
            "words": self.words_fd,
            "agent": self.id,
            "scratch": self.scratch,
        }
        command = [sys.executable, "-m", "batchpilot_agent.slot.template"]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(), self.words_fd),
                env={
                    **os.environ,
                    "PYTHONHASHSEED": "0",
                    "OPENBLAS_NUM_THREADS": "1",
                    "BATCHPILOT_AGENT": self.id,
                    **(env or {}),
                },
            )
        theirs.close()
        template = Template(self, process, ours)
        self.templates.append(template)
        return template

    def template(self, fun: Callable[..., Any], *args: Any, **options: Any) -> Template:
        """Start a template of a function and wait until it is ready."""
        template = self.start(self.epoch(fun, *args, **options))
        assert template.hear() == ["ready"]
        return template

    def slot(self, fun: Callable[..., Any], *args: Any, **options: Any) -> SlotProcess:
        """Fork a slot of a function's template."""
        return self.template(fun, *args, **options).fork()

    def value(self, fun: Callable[..., Any], *values: Any, **options: Any) -> Any:
        """Run one job of a function in a slot of its own and return its result."""
        names = options.pop("names", ("x",))
        slot = self.slot(fun, names, **options)
        slot.run([values])
        return self.rows()[-1].value

    def frames(self, path: Path) -> list[Frame | tuple[int, int]]:
        """Return the frames and gaps of a segment."""
        return list(scan(path.read_bytes()))

    def rows(self) -> list[Row]:
        """Return all outcomes in the result segment."""
        rows = []
        for frame in self.frames(self.paths.results(self.id)):
            assert isinstance(frame, Frame), "a gap"
            if frame.kind == Kind.ROW:
                fields: tuple[Any, ...] = ROW.unpack_from(frame.payload)
                assert fields[-1] == HEADER.size + len(frame.payload)
                body = bytes(frame.payload[ROW.size :])
                rows.append(Row(**dict(zip(_ROW_NAMES, fields, strict=True)), body=body))
        return rows

    def notes(self, kind: Kind) -> list[Any]:
        """Return the payloads of frames of a kind in the result segment."""
        frames = self.frames(self.paths.results(self.id))
        return [bytes(f.payload) for f in frames if isinstance(f, Frame) and f.kind == kind]

    def output(self, row: Row) -> bytes:
        """Return a job's log, followed backwards from its last part."""
        data = memoryview(self.paths.job_logs(self.id).read_bytes())
        parts: list[bytes] = []
        position = row.log_pos
        while position != NO_PART:
            frame = frame_at(data, position)
            assert frame is not None
            job, attempt, position, _ = LOG.unpack_from(frame.payload)
            assert (job, attempt) == (row.job, row.attempt)
            parts.insert(0, bytes(frame.payload[LOG.size :]))
        return b"".join(parts)

    def wait_until(self, condition: Callable[[], Any]) -> None:
        """Wait for a condition, at most for the tests' patience."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            select.select([], [], [], 0.005)

    def close(self) -> None:
        """End what was started."""
        for template in self.templates:
            template.close()
        self.words.close()
        os.close(self.words_fd)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """An agent without a pilot: the test plays it."""
    agent = Agent(tmp_path / secrets.token_hex(2))
    yield agent
    agent.close()
