"""A whole pilot in this process: broker and clock in memory, template and slots played by the test.

Nothing of the pilot is replaced; the other ends of its sockets and of the shared words are here.
"""

from __future__ import annotations

import mmap
import os
import select
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from batchpilot_agent.channel import Channel
from batchpilot_agent.pilot.ledger import Ledger
from batchpilot_agent.pilot.pilot import Pilot
from batchpilot_agent.pilot.walltime import Ask
from batchpilot_agent.segments import SegmentWriter
from batchpilot_agent.words import Words
from batchpilot_broker.frames import NO_PART, ROW, Frame, Kind, pack_row, scan
from batchpilot_broker.nouns import Chunk

from .memorybroker import Clock, MemoryBroker, settings_in


@dataclass
class PlayedSlot:
    """The slot's end of its socket and words."""

    number: int
    serial: int
    sock: socket.socket
    words: Words
    results: SegmentWriter
    order: list[Any] = field(default_factory=list)
    orders: list[list[Any]] = field(default_factory=list)

    def receive(self) -> None:
        """Take what the pilot has sent."""
        while select.select([self.sock], [], [], 0)[0]:
            message = Channel(self.sock).receive()
            if message is None:
                return
            self.orders.append(message)
            if message[0] == "run":
                self.order = message

    @property
    def jobs(self) -> list[int]:
        """Return the jobs of the last order."""
        return [job for first, last in self.order[4] for job in range(first, last + 1)]

    def announce(self, index: int, began: float) -> int:
        """Begin a job; return the limit."""
        return self.words.announce(self.order[1], index, began, self.jobs[index])

    def record(self, index: int) -> None:
        """Write the row of a job."""
        fields = (self.jobs[index], self.order[3], 1, 0, self.number, 0, 1.0, 2.0, NO_PART, 0.0)
        self.results.write(pack_row(fields, b"x"))

    def end(self, ran: int, why: str = "done", seconds: float = 0.0) -> None:
        """Say that the order has ended."""
        self.words.idle()
        Channel(self.sock).send(["end", self.order[1], ran, seconds, why])

    def run_all(self, seconds: float = 0.0) -> None:
        """Run the whole order."""
        for index in range(len(self.jobs)):
            self.announce(index, 1.0)
            self.record(index)
        self.end(len(self.jobs), seconds=seconds)


@dataclass
class PlayedTemplate:
    """The template's end of its control socket."""

    control: socket.socket
    process: subprocess.Popen[bytes]
    slots: dict[int, PlayedSlot] = field(default_factory=dict)
    quit: bool = False

    def tell(self, *message: Any) -> None:
        """Tell the pilot something."""
        self.control.send(msgpack.packb(list(message)))

    def ended(self, slot: PlayedSlot, status: int) -> None:
        """Let a slot die."""
        slot.sock.close()
        self.tell("ended", slot.number, slot.serial, 1, status, 2048)
        del self.slots[slot.serial]

    def die(self) -> None:
        """Die, and the slots too."""
        self.process.kill()
        self.quit = True
        self.control.close()
        for slot in self.slots.values():
            slot.sock.close()
        self.slots.clear()


class Stage:
    """A pilot and all that surrounds it."""

    def __init__(self, directory: Path, *, ask: Ask | None = None, **options: Any) -> None:
        self.settings = settings_in(directory, **options)
        self.broker = MemoryBroker()
        self.clock, self.wall = Clock(), Clock()
        self.templates: list[PlayedTemplate] = []
        self.pilot = Pilot(
            self.settings,
            self.broker.open,
            clock=self.clock,
            wall=self.wall,
            popen=self._popen,
            draw=lambda: 0.5,
            ask=ask,
        )
        self.memory = mmap.mmap(self.pilot.board.fd, 0)

    @property
    def ledger(self) -> Ledger:
        """Return what writes the pilot's frames."""
        return self.pilot.ledger

    @property
    def slots(self) -> list[PlayedSlot]:
        """Return all living slots."""
        return [slot for template in self.templates for slot in template.slots.values()]

    @property
    def busy(self) -> list[PlayedSlot]:
        """Return the slots that have an order, in the order they were given one."""
        serials = list(self.pilot.holdings.busy)
        return sorted(
            (slot for slot in self.slots if slot.serial in serials),
            key=lambda slot: serials.index(slot.serial),
        )

    def step(self, seconds: float = 0.0) -> None:
        """Let time pass, and everybody hear and say what there is."""
        self.clock.now += seconds
        self.wall.now += seconds
        for _ in range(3):
            self.pilot.poller.wait(0)
            if self.pilot.leaver.code is None:
                self.pilot.tick(self.clock.now)
            self._play()

    def feed(self, *chunks: Chunk) -> None:
        """Feed chunks and ring the bell."""
        for chunk in chunks:
            self.broker.feed(chunk)
        self.pilot.obey({"kind": "classes"}, self.clock.now)
        self.step()

    def notes(self) -> list[tuple[int, Any]]:
        """Return kind and decoded payload of the pilot's own frames told so far."""
        return [
            (kind, msgpack.unpackb(payload) if kind == Kind.HANDED_BACK else payload)
            for report in self.broker.reports
            for kind, payload in report.notes
        ]

    def handed_back(self) -> list[list[Any]]:
        """Return the payloads of all HANDED_BACK frames that are written."""
        return [msgpack.unpackb(f.payload) for f in self.frames() if f.kind == Kind.HANDED_BACK]

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the fields of all rows that are written."""
        return [ROW.unpack_from(frame.payload) for frame in self.frames() if frame.kind == Kind.ROW]

    def frames(self) -> list[Frame]:
        """Return the frames of the result segment."""
        data = self.settings.paths.results("a1").read_bytes()
        return [frame for frame in scan(data) if isinstance(frame, Frame)]

    def close(self) -> None:
        """End the play."""
        for template in self.templates:
            template.control.close()
            for slot in template.slots.values():
                slot.sock.close()
        self.pilot.close()

    def _popen(self, _command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        control = socket.socket(fileno=os.dup(options["pass_fds"][0]))
        process = subprocess.Popen(["/bin/sleep", "600"])
        self.templates.append(PlayedTemplate(control, process))
        return process

    def _play(self) -> None:
        for template in self.templates:
            while not template.quit and select.select([template.control], [], [], 0)[0]:
                self._obey(template)
        for slot in self.slots:
            slot.receive()

    def _obey(self, template: PlayedTemplate) -> None:
        packet, fds, _, _ = socket.recv_fds(template.control, 65536, 1)
        message: list[Any] = msgpack.unpackb(packet) if packet else ["quit"]
        match message:
            case ["fork", number, serial]:
                results = SegmentWriter(self.settings.paths.results("a1"))
                words = Words(self.memory, number)
                slot = PlayedSlot(number, serial, socket.socket(fileno=fds[0]), words, results)
                template.slots[serial] = slot
                template.tell("forked", number, serial, 0)
            case _:
                template.quit = True
                template.control.close()
                template.process.kill()
