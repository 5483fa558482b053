"""The template: a process that has loaded one epoch, and forks the slots that run its jobs.

    python -m batchpilot_agent.slot.template --registry DIR --epoch HASH --control FD --words FD
    --agent ID --scratch DIR --threads OMP,BLAS [--start fork|spawn]

Single-threaded, so that fork is safe; it calls none of the user's functions. With `--start spawn`
it loads nothing and each slot loads the epoch for itself: libraries that start threads when they
are imported keep them. The pilot holds the other end of `--control` (SOCK_SEQPACKET, one msgpack
list a packet):

    pilot    ["fork", slot, serial] + the slot's socket        ["quit"]
    template ["ready"]   ["failed", type, message, traceback]
             ["forked", slot, serial, pid]   ["ended", slot, serial, pid, wait status, peak KB]
             ["unforked", slot, serial, errno]   the machine has no process to give

When a slot ends, what is left of its process group is killed before it is told. When the pilot is
gone, the kernel kills the template, and with it the slots.
"""

from __future__ import annotations

import argparse
import gc
import mmap
import os
import select
import signal
import socket
import sys
import traceback
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Never

import msgpack

from batchpilot_agent.errors import EpochError
from batchpilot_agent.objects import ObjectStore
from batchpilot_agent.prctl import die_with_parent
from batchpilot_agent.segments import high_fd
from batchpilot_agent.signals import TOLD_TO_GO
from batchpilot_broker.paths import RegistryPaths

from .epoch import Loaded, failure_of, load_epoch
from .seeds import Seeder
from .slot import SlotPlace, run_slot
from .threads import limit_threads


_PACKET = 65_536


class Template:
    """Fork slots for the pilot and tell it of their ends.

    Args:
        control: Socket to the pilot.
        place: What the slots have in common.
    """

    def __init__(self, control: socket.socket, place: SlotPlace) -> None:
        self._control = control
        self._place = place
        self._slots: dict[int, tuple[int, int]] = {}
        self._wakeup, wakeup = socket.socketpair()
        for end in (self._wakeup, wakeup):
            end.setblocking(False)
        self._signals = wakeup
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Serve until the pilot says quit or is gone."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self._wakeup.fileno() in ready:
                self._wakeup.recv(_PACKET)
                self._reap()
            if self._control.fileno() in ready and not self._obey():
                return

    def _obey(self) -> bool:
        """Do what one packet says; False when it is time to go."""
        packet, fds, _, _ = socket.recv_fds(self._control, _PACKET, 1, socket.MSG_CMSG_CLOEXEC)
        if not packet:
            return False
        match msgpack.unpackb(packet):
            case ["fork", slot, serial]:
                self._fork(slot, serial, fds[0])
                return True
            case _:
                return False

    def _fork(self, slot: int, serial: int, fd: int) -> None:
        template = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(fd)
            self._tell(["unforked", slot, serial, error.errno])
            return
        if pid == 0:
            self._in_child(template, slot, serial, fd)
        os.close(fd)
        self._slots[pid] = (slot, serial)
        self._tell(["forked", slot, serial, pid])

    def _in_child(self, template: int, slot: int, serial: int, fd: int) -> Never:
        """Be a slot; never return to the template's stack, run none of its exit handlers."""
        code = 70
        try:
            die_with_parent(template, signal.SIGKILL)
            for end in (self._wakeup, self._signals):
                end.close()
            epoch = self._place.load()  # where slots are spawned, it is loaded here
            self._control.close()
            place = replace(self._place, load=lambda: epoch)
            run_slot(place, slot, serial, socket.socket(fileno=high_fd(fd)))
            code = 0
        except EpochError as error:
            self._control.send(_failed(error))
        except BaseException:  # noqa: BLE001 - told to the log; the pilot sees the exit code
            traceback.print_exc()
        finally:
            os._exit(code)

    def _reap(self) -> None:
        while (pid := _ended_child()) is not None:
            slot = self._slots.pop(pid, None)
            if slot is not None:
                _kill_group(pid)  # before it is waited for: until then the number is taken
            _, status, usage = os.wait4(pid, 0)
            if slot is not None:
                self._tell(["ended", *slot, pid, status, usage.ru_maxrss])

    def _tell(self, message: list[Any]) -> None:
        self._control.send(msgpack.packb(message))


def main(argv: list[str] | None = None) -> int:
    """Load the epoch and serve; return 1 when it cannot be loaded."""
    args = _parser().parse_args(argv)
    die_with_parent(os.getppid(), signal.SIGKILL)
    for number in TOLD_TO_GO:
        signal.signal(number, signal.SIG_IGN)  # the pilot decides when it is time to go
    control = socket.socket(fileno=args.control)
    control.set_inheritable(False)
    shared = mmap.mmap(args.words, 0)
    os.close(args.words)  # or all that jobs start would have it
    paths = RegistryPaths(args.registry)
    store = ObjectStore(paths.objects)
    seeder = Seeder()
    seeder.install()
    _be_nobody()
    load = partial(_load, store, args.epoch, args.threads)
    if args.start == "fork":
        try:
            epoch = load()
        except EpochError as error:
            control.send(_failed(error))
            return 1
        load = partial(_loaded, epoch)
    place = SlotPlace(
        paths=paths,
        store=store,
        agent=args.agent,
        scratch=args.scratch,
        shared=shared,
        load=load,
        seeder=seeder,
    )
    template = Template(control, place)
    gc.collect()
    gc.freeze()  # or the first collection in each slot would copy all of this
    control.send(msgpack.packb(["ready"]))
    template.serve()
    return 0


def _load(store: ObjectStore, name: str, threads: tuple[int, int]) -> Loaded:
    epoch = load_epoch(store, name)
    limit_threads(*threads)
    return epoch


def _loaded(epoch: Loaded) -> Loaded:
    return epoch


def _failed(error: EpochError) -> bytes:
    message: bytes = msgpack.packb(["failed", *failure_of(error)])
    return message


def _be_nobody() -> None:
    """Leave no trace of this program where the user's code looks: `__main__`, argv, sys.path."""
    sys.modules["__main__"] = ModuleType("__main__")
    sys.argv[:] = [""]
    if not sys.flags.safe_path:
        del sys.path[0]  # where the agent was started, put there by -m


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m batchpilot_agent.slot.template")
    parser.add_argument("--registry", type=Path, required=True)
    parser.add_argument("--epoch", required=True)
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--words", type=int, required=True)
    parser.add_argument("--agent", required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--threads", type=_counts, default=(1, 1))
    parser.add_argument("--start", choices=("fork", "spawn"), default="fork")
    return parser


def _counts(text: str) -> tuple[int, int]:
    omp, blas = text.split(",")
    return int(omp), int(blas)


def _ended_child() -> int | None:
    """Return a child that has ended and is not yet waited for."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return ended.si_pid if ended else None


def _kill_group(pid: int) -> None:
    """Kill what a slot has left running in its process group."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # nothing but the slot itself, which has ended


if __name__ == "__main__":
    sys.exit(main())
