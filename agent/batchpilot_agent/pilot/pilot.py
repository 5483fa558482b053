"""The pilot: one process, one thread, one loop around poll(), and the duties it turns in.

    link         opens the broker, says hello        watch     looks at running jobs
    dispatcher   gives chunks to slots               stopper   ends jobs
    ledger       writes the pilot's own frames       beater    renews the lease, keeps timeouts
    reporter     tells the coordinator               leaver    leaves in order
    claimer      claims chunks                       walltime  knows when the allocation ends
    besides memorywatch, livelog, templates, sweeper

Each duty is an object with `tick(now)`; it looks at what there is to do and does it without
waiting. A broker that fails is let go in one place, here; jobs run on meanwhile. Where the machine
has no file or process to give, the agent leaves: what has not begun is handed back, what runs may
end.
"""

from __future__ import annotations

import errno
import logging
import math
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from batchpilot_agent.settings import Exit, Settings
from batchpilot_agent.signals import TOLD_TO_GO
from batchpilot_broker.agentside import AgentBroker
from batchpilot_broker.errors import BatchpilotError, BrokerError
from batchpilot_broker.host import on_network

from .beater import Beater
from .board import Board
from .claimer import Claimer
from .dispatcher import Dispatcher
from .holdings import Holdings, Pace
from .identity import agent_info
from .jitter import drawn, head_start
from .leaver import Leaver
from .ledger import Ledger
from .link import Link
from .livelog import LiveLog
from .memorywatch import MemoryWatch
from .poller import Poller
from .ports import Opener
from .reporter import Reporter
from .settler import Settler
from .spools import Spools
from .stopper import Stopper
from .sweeper import Sweeper
from .tail import SegmentTail
from .templates import Templates
from .walltime import Ask, Walltime, asker
from .watch import Watch


BUSY_WAIT = 0.05
IDLE_WAIT = 1.0
LINK_WAIT = 0.2
AGAIN = 1.0
"""Seconds between two signals that count as two: Ctrl-C comes directly and by the keeper."""

ALLOCATION_PATIENCE = 1.0
"""Seconds in which a batch system's signal to all processes of a job has reached each of them."""

SCARCE = frozenset((errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM))
"""What the kernel says where a limit of files, processes or memory is reached."""

_log = logging.getLogger(__name__)


class Duty(Protocol):
    """Do what is due."""

    def tick(self, now: float) -> None:
        """Look at what there is to do at a time of the pilot's clock, and do it without waiting."""


class Pilot:
    """Put the duties together and turn in them until it is time to leave.

    Args:
        settings: What the agent was started with.
        opener: Opens the broker.
        clock: Time for durations.
        wall: Unix time.
        popen: Starts a template.
        draw: Draws numbers in [0, 1) that no other agent draws.
        ask: Asks the batch system when this job ends, where there is one.
    """

    def __init__(  # noqa: PLR0913 - what tests hand in
        self,
        settings: Settings,
        opener: Opener,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen,
        draw: Callable[[], float] = drawn,
        ask: Ask | None = None,
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._wall = wall
        self._signals: list[int] = []
        self._told: float | None = None
        self.poller = Poller()
        self.holdings = Holdings(settings)
        self.ledger = Ledger(settings, wall)
        self.pace = Pace()
        self._wire_work(popen)
        self._wire_talk(opener, draw, ask)
        self._duties: tuple[Duty, ...] = (
            self.link,
            self.dispatcher,
            self.ledger,
            self.reporter,
            self.claimer,
            self.walltime,
            self.watch,
            MemoryWatch(self.holdings, self.stopper),
            LiveLog(self.holdings, self.spools),
            self.stopper,
            self.beater,
            self.leaver,
            self.templates,
            self.sweeper,
        )

    def _wire_work(self, popen: Callable[..., subprocess.Popen[bytes]]) -> None:
        """Put together what runs jobs."""
        settings, holdings, ledger = self.settings, self.holdings, self.ledger
        places = 4 * settings.slots + 8
        self.board = board = Board(places)
        self.templates = Templates(settings, board, places, self.poller, popen=popen)
        self.spools = Spools(settings.scratch, ledger.logs)
        self.settler = Settler(
            holdings=holdings,
            ledger=ledger,
            spools=self.spools,
            board=board,
            pace=self.pace,
            wall=self._wall,
        )
        self.stopper = Stopper(
            holdings=holdings,
            board=board,
            ledger=ledger,
            settler=self.settler,
            templates=self.templates,
        )
        self.sweeper = Sweeper(settings)
        self.dispatcher = Dispatcher(
            holdings=holdings,
            templates=self.templates,
            board=board,
            ledger=ledger,
            settler=self.settler,
            sweeper=self.sweeper,
            patience=ALLOCATION_PATIENCE if settings.allocation else 0.0,
        )
        self.watch = Watch(holdings, board, self.stopper, clock=self._clock, wall=self._wall)

    def _wire_talk(self, opener: Opener, draw: Callable[[], float], ask: Ask | None) -> None:
        """Put together what speaks to the broker."""
        settings, holdings = self.settings, self.holdings
        segment = settings.paths.results(settings.agent)
        info = agent_info(settings)
        self.link = Link(
            info=info,
            holdings=holdings,
            poller=self.poller,
            opener=opener,
            begin=self._clock() + head_start(settings.crowd, draw()),
            draw=draw,
            trusted=not settings.remote,
        )
        self.walltime = Walltime(settings, self.link, ask, self._wall)
        self.claimer = Claimer(
            settings=settings,
            holdings=holdings,
            ledger=self.ledger,
            link=self.link,
            dispatcher=self.dispatcher,
            pace=self.pace,
            walltime=self.walltime,
        )
        self.tail = SegmentTail(segment)
        self.reporter = Reporter(
            agent=settings.agent,
            segment=segment.name,
            tail=self.tail,
            ledger=self.ledger,
            watch=self.watch,
            link=self.link,
            remote=on_network(segment),
        )
        self.leaver = Leaver(
            settings=settings,
            holdings=holdings,
            stopper=self.stopper,
            ledger=self.ledger,
            reporter=self.reporter,
            link=self.link,
            walltime=self.walltime,
        )
        self.beater = Beater(
            settings=settings,
            holdings=holdings,
            link=self.link,
            leaver=self.leaver,
            now=self._clock(),
        )

    def run(self) -> Exit:
        """Turn until it is time to leave; return the exit code."""
        self._catch_signals()
        while self.leaver.code is None:
            self.tick(self._clock())
            self.poller.wait(self._wait())
        return self.leaver.code

    def tick(self, now: float) -> None:
        """Let every duty have a look."""
        self._obey_signals(now)
        self._guard(self._obey_broker, now)
        for duty in self._duties:
            self._guard(duty.tick, now)
        self._guard(self._listen, now)

    def close(self) -> None:
        """End all processes of jobs and let go of everything."""
        self.templates.close()
        self.link.close()
        self.tail.close()
        self.ledger.close()
        self.board.close()

    def _guard(self, act: Callable[[float], None], now: float) -> None:
        try:
            act(now)
        except BrokerError as error:
            self.link.lost(error, now)
        except OSError as error:
            if error.errno not in SCARCE:
                raise
            _log.error("no file or process to be had (%s): see `ulimit -n` and `ulimit -u`", error)
            self.leaver.leave("limit", now, grace=math.inf, code=Exit.FAILED)

    def _wait(self) -> float:
        if self.leaver.code is not None or self.templates.heard:
            return 0.0
        if self.holdings.works or self.holdings.draining or not self.ledger.settled:
            return BUSY_WAIT
        return IDLE_WAIT if self.link.broker is not None else LINK_WAIT

    def _listen(self, now: float) -> None:
        if self.leaver.code is None:
            self.link.listen(self.claimer.bells(now))

    def _obey_broker(self, now: float) -> None:
        for message in self.link.receive():
            self.obey(message, now)

    def obey(self, message: dict[str, Any], now: float) -> None:
        """Do what a message of the broker or the coordinator says."""
        match message:
            case {"kind": "bell"}:
                self.claimer.rung()
            case {"kind": "cancel", "ranges": ranges, "attempt": attempt}:
                self.stopper.cancel([(first, last) for first, last in ranges], attempt, now)
            case {"kind": "drain" | "stop" as kind}:
                self.leaver.leave(kind, now, grace=0.0 if kind == "stop" else None)
            case {"kind": "classes"}:
                self.claimer.refresh()
            case {"kind": "refused"}:
                _log.error("refused by the coordinator: %s", message.get("why"))
                self.leaver.leave("refused", now, code=Exit.REFUSED)
            case {"kind": "announce" | "welcome" | "wake" as kind}:
                self._obey_about_link(kind)
            case _:
                _log.warning("unknown message of kind %r", message.get("kind"))

    def _obey_about_link(self, kind: str) -> None:
        if kind == "announce":
            self.link.announce(self.link.generation)
        elif kind == "welcome":
            self.link.trusted = True

    def _catch_signals(self) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        self._wakeup = (ours, theirs)
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        self.poller.watch(ours.fileno(), partial(_swallow, ours))
        for number in TOLD_TO_GO:
            signal.signal(number, lambda caught, _frame: self._signals.append(caught))

    def _obey_signals(self, now: float) -> None:
        if not self._signals:
            return
        _log.info("told to go by %s", signal.Signals(self._signals[0]).name)
        self._signals.clear()
        again = self._told is not None and now - self._told > AGAIN
        self._told = now if self._told is None else self._told
        self.leaver.leave("drain", now, grace=0.0 if again else None)


def fly(settings: Settings) -> int:
    """Be the pilot; return its exit code."""
    try:
        pilot = Pilot(
            settings,
            lambda: AgentBroker.open(settings.paths, settings.instance),
            ask=asker(settings, time.time),
        )
    except BatchpilotError as error:
        _log.error("%s", error)
        return Exit.FAILED
    try:
        return pilot.run()
    except BatchpilotError as error:
        _log.error("%s", error)
        return Exit.FAILED
    finally:
        pilot.close()


def _swallow(sock: socket.socket) -> None:
    sock.recv(64)
