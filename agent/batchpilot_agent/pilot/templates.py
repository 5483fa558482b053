"""The template processes of an agent and the slots they fork: started, kept, replaced, ended.

A template is started when the first chunk of its epoch and thread setting arrives; orders can be
given to its slots at once, they wait in the socket until the slot is there. At most four are kept,
the least recently used one leaves. What they and their slots say is put on `heard`, for the
dispatcher.
"""

from __future__ import annotations

import heapq
import logging
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count
from typing import Any

import msgpack

from batchpilot_agent.scratch import TMP
from batchpilot_agent.settings import Settings

from .board import Board
from .handles import (
    Failure,
    Heard,
    SlotEnded,
    SlotHandle,
    SlotSaid,
    TemplateFailed,
    TemplateHandle,
    TemplateKey,
    status_text,
)
from .line import Line
from .poller import Poller


MOST_TEMPLATES = 4
_PACKET = 1 << 20
_PATIENCE = 2.0
_log = logging.getLogger(__name__)


class Templates:
    """Keep template and slot processes.

    Args:
        settings: Of the agent.
        board: The words of the slots.
        places: How many slots it has words for.
        poller: Wakes the pilot when one of them says something.
        popen: Starts a process.

    Attributes:
        heard: What slots and templates have said, in order.
    """

    def __init__(
        self,
        settings: Settings,
        board: Board,
        places: int,
        poller: Poller,
        *,
        popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen,
    ) -> None:
        self._settings = settings
        self._place = {"TMPDIR": str(settings.scratch / TMP)}
        self._popen = popen
        self._board = board
        self._poller = poller
        self._free = list(range(places))
        self._serials = count(1)
        self._kept: dict[TemplateKey, TemplateHandle] = {}
        self._leaving: list[tuple[float, subprocess.Popen[bytes]]] = []
        self.heard: deque[Heard] = deque()

    def __iter__(self) -> Iterator[TemplateHandle]:
        return iter(self._kept.values())

    def get(self, key: TemplateKey, now: float) -> TemplateHandle:
        """Return the template of an epoch and thread setting, started where there is none."""
        template = self._kept.get(key)
        if template is None:
            self._make_room(now)
            template = self._kept[key] = self._start(key)
            self._poller.watch(template.control.fileno(), partial(self._hear, template))
        template.used = now
        return template

    def fork(self, template: TemplateHandle) -> SlotHandle | None:
        """Let a template fork a slot and return it, None when all places are taken."""
        if not self._free:
            return None
        number, serial = heapq.heappop(self._free), next(self._serials)
        self._board.clear(number)
        ours, theirs = socket.socketpair()
        slot = SlotHandle(number=number, serial=serial, template=template, line=Line(ours))
        template.slots[serial] = slot
        template.say("fork", number, serial, pack=msgpack.packb, fds=(theirs.fileno(),))
        theirs.close()
        self.attend(slot)
        return slot

    def attend(self, slot: SlotHandle) -> None:
        """Watch a slot's socket, also for room to write while something waits to be sent."""
        if not slot.line.closed:
            hear = partial(self._hear_slot, slot)
            self._poller.watch(slot.line.fileno(), hear, writing=slot.line.pending)

    def quit(self, slot: SlotHandle, now: float) -> None:
        """Let a slot without an order end."""
        slot.leaving, slot.since = True, now
        slot.line.send(["quit"])

    def tick(self, now: float) -> None:
        """Reap the templates that were sent away; end them and slots that do not go.

        Raises:
            OSError: A template could not fork.
        """
        for template in self._kept.values():
            if template.starved:
                number, template.starved = template.starved, 0
                raise OSError(number, os.strerror(number))
            for slot in template.slots.values():
                if slot.leaving and slot.order is None and now - slot.since > _PATIENCE:
                    slot.kill(signal.SIGKILL)
                    slot.since = now
        still = []
        for since, process in self._leaving:
            if process.poll() is None:
                if now - since > _PATIENCE:
                    process.kill()
                still.append((since, process))
        self._leaving = still

    def close(self) -> None:
        """End all templates and with them their slots."""
        for template in list(self._kept.values()):
            self._forget(template)
            template.process.kill()
            template.process.wait()
        for _, process in self._leaving:
            process.kill()
            process.wait()

    def _make_room(self, now: float) -> None:
        unused = [t for t in self._kept.values() if all(s.order is None for s in t.slots.values())]
        unused.sort(key=lambda template: template.used)
        for template in unused[: max(0, len(self._kept) + 1 - MOST_TEMPLATES)]:
            self.dismiss(template, now)

    def dismiss(self, template: TemplateHandle, now: float) -> None:
        """Send a template without orders away, and its slots with it."""
        _log.info("template %s leaves", template.key[0][:12])
        template.say("quit", pack=msgpack.packb)
        self._forget(template)
        self._leaving.append((now, template.process))

    def _forget(self, template: TemplateHandle) -> None:
        self._let_go(template)
        for slot in list(template.slots.values()):
            self._release(slot)

    def _release(self, slot: SlotHandle) -> None:
        slot.template.slots.pop(slot.serial, None)
        if not slot.line.closed:
            self._poller.forget(slot.line.fileno())
        slot.line.close()
        slot.leaving = True
        heapq.heappush(self._free, slot.number)

    def _start(self, key: TemplateKey) -> TemplateHandle:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        epoch, threads = key
        options = {
            "registry": self._settings.paths.root,
            "epoch": epoch,
            "control": theirs.fileno(),
            "words": self._board.fd,
            "agent": self._settings.agent,
            "scratch": self._settings.scratch,
            "start": self._settings.start,
            "threads": ",".join(map(str, threads)),
        }
        command = [sys.executable, "-P", "-m", "batchpilot_agent.slot.template"]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        process = self._popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=2,
            pass_fds=(theirs.fileno(), self._board.fd),
            env=template_environment(self._settings.markers, threads) | self._place,
        )
        theirs.close()
        ours.setblocking(False)
        _log.info("template %s starts as process %d", epoch[:12], process.pid)
        return TemplateHandle(key=key, process=process, control=ours)

    def _hear_slot(self, slot: SlotHandle) -> None:
        line = slot.line
        line.flush()
        fd = line.fileno()
        self.heard.extend(SlotSaid(slot, message) for message in line.receive())
        if line.closed:
            self._poller.forget(fd)
            line.close()
        else:
            self.attend(slot)

    def _hear(self, template: TemplateHandle) -> None:
        while template.key in self._kept:
            try:
                packet = template.control.recv(_PACKET)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # told once, of a template that has not read all; its last words follow
            if packet:
                self._take(template, msgpack.unpackb(packet, raw=False))
            else:
                self._died(template)

    def _take(self, template: TemplateHandle, message: list[Any]) -> None:
        match message:
            case ["ready"]:
                template.ready = True
            case ["forked", _, serial, pid]:
                self._forked(template, serial, pid)
            case ["ended", _, serial, _, status, maxrss_kb]:
                self._ended(template, serial, status, maxrss_kb)
            case ["unforked", _, serial, number]:
                template.starved = number
                self._ended(template, serial, None, 0)
            case ["failed", kind, text, traceback]:
                self._failed(template, Failure(type=kind, message=text, traceback=traceback))
            case _:
                _log.error("a template says %r, which is no message", message)

    def _forked(self, template: TemplateHandle, serial: int, pid: int) -> None:
        slot = template.slots.get(serial)
        if slot is not None:
            slot.pid = pid

    def _ended(
        self, template: TemplateHandle, serial: int, status: int | None, maxrss_kb: int
    ) -> None:
        slot = template.slots.get(serial)
        if slot is None:
            return
        if not slot.line.closed:
            self.heard.extend(SlotSaid(slot, message) for message in slot.line.receive())
        self.heard.append(SlotEnded(slot, status, maxrss_kb))

    def release(self, slot: SlotHandle) -> None:
        """Free the place of a slot that has ended."""
        if slot.serial in slot.template.slots:
            self._release(slot)

    def _failed(self, template: TemplateHandle, failure: Failure) -> None:
        slots = tuple(template.slots.values())
        self._forget(template)
        self._leaving.append((0.0, template.process))
        self.heard.append(TemplateFailed(template.key, slots, failure))

    def _died(self, template: TemplateHandle) -> None:
        status = self._reap(template.process)
        _log.warning("template %s ended: %s", template.key[0][:12], status_text(status))
        if not template.ready:
            text = f"the process that imports the code ended: {status_text(status)}"
            self._failed(
                template, Failure(type="TemplateDied", message=text, traceback="", died=True)
            )
            return
        for slot in list(template.slots.values()):
            slot.kill(signal.SIGKILL)
            self._ended(template, slot.serial, None, 0)
        self._let_go(template)

    def _let_go(self, template: TemplateHandle) -> None:
        """Close the line to a template; whoever still knows it must not let it fork."""
        self._poller.forget(template.control.fileno())
        template.control.close()
        template.ready = False
        self._kept.pop(template.key, None)

    def _reap(self, process: subprocess.Popen[bytes]) -> int:
        try:
            code = process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        return -code if code < 0 else code << 8


def template_environment(markers: Mapping[str, str], threads: tuple[int, int]) -> dict[str, str]:
    """Return the environment of a template: the agent's, but for what jobs have to find alike."""
    omp, blas = map(str, threads)
    return {
        **os.environ,
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": omp,
        "NUMEXPR_NUM_THREADS": omp,
        "NUMBA_NUM_THREADS": omp,
        "OPENBLAS_NUM_THREADS": blas,
        "MKL_NUM_THREADS": blas,
        "BLIS_NUM_THREADS": blas,
        "VECLIB_MAXIMUM_THREADS": blas,
        **markers,
    }
