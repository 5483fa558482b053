"""The pilot's side of its template and slot processes, and what it hears from them."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass, field
from signal import Signals
from typing import Any

from batchpilot_agent.signals import TOLD_TO_GO

from .line import Line
from .work import Order


TemplateKey = tuple[str, tuple[int, int]]
"""Epoch and (omp_threads, blas_threads)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Hold why a template cannot fork slots: the error of its import, or how it died."""

    type: str
    message: str
    traceback: str
    died: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class TemplateHandle:
    """Keep one template process.

    Attributes:
        key: What it has loaded.
        process: The process.
        control: Packets to and from it.
        ready: Whether it has loaded the epoch.
        slots: Its living slots by serial.
        used: When a job was last given to one of them.
        barren: Slots in a row that died before they began a job.
        starved: Why it cannot fork, an errno; 0 where it can.
    """

    key: TemplateKey
    process: subprocess.Popen[bytes]
    control: socket.socket
    ready: bool = False
    slots: dict[int, SlotHandle] = field(default_factory=dict)
    used: float = 0.0
    barren: int = 0
    starved: int = 0

    def say(self, *message: Any, pack: Any, fds: tuple[int, ...] = ()) -> None:
        """Send a packet; a template that has died misses it, and its end is heard elsewhere."""
        try:
            socket.send_fds(self.control, [pack(list(message))], fds)
        except (BrokenPipeError, ConnectionResetError):
            return


@dataclass(slots=True, kw_only=True, eq=False)
class SlotHandle:
    """Keep one slot process.

    Attributes:
        number: Its place in the words; free again once it has ended.
        serial: Number of the process, never used again by this agent.
        template: Whose child it is.
        line: Messages to and from it.
        pid: Its process, 0 until the template has forked it.
        order: What it works on.
        used: Orders it was given.
        leaving: Whether it is to get no further order.
        since: When it became idle.
    """

    number: int
    serial: int
    template: TemplateHandle
    line: Line
    pid: int = 0
    order: Order | None = None
    used: int = 0
    leaving: bool = False
    since: float = 0.0

    def kill(self, number: Signals) -> bool:
        """Send a signal to the slot and its process group; tell whether there was anybody."""
        if not self.pid:
            return False
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return self._signal_alone(number)
        return True

    def _signal_alone(self, number: Signals) -> bool:
        """Reach a slot so young that it has no group of its own yet."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SlotSaid:
    """Say that a slot has sent a message."""

    slot: SlotHandle
    message: list[Any]


@dataclass(frozen=True, slots=True)
class SlotEnded:
    """Say that a slot has ended; its wait status is None where its template has died."""

    slot: SlotHandle
    status: int | None
    maxrss_kb: int


@dataclass(frozen=True, slots=True)
class TemplateFailed:
    """Say that a template has never become ready."""

    key: TemplateKey
    slots: tuple[SlotHandle, ...]
    failure: Failure


Heard = SlotSaid | SlotEnded | TemplateFailed


def was_told_to_go(status: int | None) -> bool:
    """Tell whether a process died by a signal by which batch systems end jobs."""
    return status is not None and os.WIFSIGNALED(status) and os.WTERMSIG(status) in TOLD_TO_GO


def status_text(status: int | None) -> str:
    """Return a wait status in words.

    Example:
        >>> status_text(11), status_text(3 << 8)
        ('signal 11 (SIGSEGV)', 'exit code 3')
    """
    if status is None:
        return "its template ended"
    if not os.WIFSIGNALED(status):
        return f"exit code {os.waitstatus_to_exitcode(status)}"
    number = os.WTERMSIG(status)
    try:
        return f"signal {number} ({Signals(number).name})"
    except ValueError:
        return f"signal {number}"
