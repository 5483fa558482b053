"""A slot: a process forked from a template that runs the pilot's orders, one job at a time.

    idle -- ["run", …] --> announce, look at the limit, run -- next job --+
      ^                            |             ^________________________|
      |                            v
      +---- ["end", …, "done" | "limit"]        ["end", …, "leave:<reason>"] --> gone

It leaves when its process cannot be given another job: `process` (isolation), `threads`,
`children`, `open files`, `limits`, `memory`, `builtins`, `data` (that of a problem, which the job
may have changed), `handed back`. Whatever kills it costs the job it has announced and nothing
else. What threads and children of a job write after its end goes to the agent's log.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from batchpilot_agent.channel import Channel
from batchpilot_agent.objects import ObjectStore
from batchpilot_agent.prctl import adopt_orphans
from batchpilot_agent.segments import SegmentWriter, high_fd
from batchpilot_agent.signals import TOLD_TO_GO
from batchpilot_agent.words import Words
from batchpilot_broker.nouns import Isolation
from batchpilot_broker.paths import RegistryPaths

from .capture import Capture, Spool
from .epoch import Loaded
from .execution import Execution
from .order import Order
from .seeds import Seeder
from .values import ValueReader


MARKER = "BATCHPILOT_SLOT"
"""Variable in the environment of all that a job starts: `<agent>:<slot>:<serial>`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotPlace:
    """Hold what all slots of a template have in common.

    Attributes:
        paths: The registry.
        store: Its objects.
        agent: Id of the agent.
        scratch: The agent's private directory on local disk.
        shared: Memory shared with the pilot.
        load: Gives what to call: at once where the template has loaded it, else by loading it.
        seeder: Seeds the generators.
    """

    paths: RegistryPaths
    store: ObjectStore
    agent: str
    scratch: Path
    shared: mmap.mmap
    load: Callable[[], Loaded]
    seeder: Seeder


class Slot:
    """Run orders until told to quit, or until this process must not run another job."""

    def __init__(self, channel: Channel, words: Words, execution: Execution) -> None:
        self._channel = channel
        self._words = words
        self._execution = execution

    def serve(self) -> None:
        """Take orders until the pilot says quit, is gone, or this process has to go."""
        why = ""
        while not why.startswith("leave:"):
            message = self._channel.receive()
            if message is None or message[0] == "quit":
                return
            order = Order.from_message(message)
            begun = time.monotonic()
            ran, why = self._work(order)
            self._words.idle()
            self._channel.send(["end", order.serial, ran, time.monotonic() - begun, why])

    def _work(self, order: Order) -> tuple[int, str]:
        """Run the jobs of an order; return how many were run, and why it ended."""
        announce, run, now = self._words.announce, self._execution.run, time.time
        serial, alone = order.serial, order.isolation == Isolation.PROCESS
        self._execution.assume(order.variables)
        for index, job in enumerate(order.ids):
            begun = now()
            if index >= announce(serial, index, begun, job):
                return index, "limit"
            left = run(order, index, begun)
            if left or alone:
                return index + 1, f"leave:{left or 'process'}"
        left = self._execution.settle()
        return len(order.ids), f"leave:{left}" if left else "done"


def run_slot(place: SlotPlace, slot: int, serial: int, sock: socket.socket) -> None:
    """Make this freshly forked process a slot and serve until it has to go."""
    _become_ordinary()
    os.environ[MARKER] = f"{place.agent}:{slot}:{serial}"
    words = Words(place.shared, slot)
    logs = SegmentWriter(place.paths.job_logs(place.agent), on_trouble=words.trouble)
    results = SegmentWriter(place.paths.results(place.agent), on_trouble=words.trouble)
    log = high_fd(os.dup(2))
    spool = Spool(place.scratch / f"spool-{slot}-{serial}")
    execution = Execution(
        epoch=place.load(),
        registry=place.paths.root,
        slot=slot,
        values=ValueReader(place.store),
        results=results,
        capture=Capture(spool, logs),
        seeder=place.seeder,
    )
    faulthandler.enable(2)  # a crash tells its Python frames to the log
    Slot(Channel(sock), words, execution).serve()
    spool.give_back(log)
    spool.remove()


def _become_ordinary() -> None:
    """Be the process that a user expects: own session, default signals, none that escapes it."""
    os.setsid()
    adopt_orphans()
    signal.set_wakeup_fd(-1)
    for number in (*TOLD_TO_GO, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
