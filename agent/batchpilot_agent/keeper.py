"""The keeper: the agent's parent, which outlives the pilot to clean up behind it.

It is forked off before anything heavy is loaded, passes signals on to the pilot, and adopts what
jobs leave behind (it is a subreaper). When the pilot is gone, however, everything of this agent
ends: what carries its marker in the environment, and what has become the keeper's child. Then the
scratch directory is removed and the pilot's status returned. When the keeper dies, the pilot is
told by SIGTERM and drains; when both are gone, the warden does what the keeper would have done.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Never

from .prctl import adopt_orphans, die_with_parent
from .processes import marked, process_table, send, tree_of
from .scratch import abandoned, make_scratch
from .signals import TOLD_TO_GO
from .warden import post_warden


GRACE = 1.0
PATIENCE = 30.0
_LOOK = 0.02
_AWAITED = {signal.SIGCHLD, *TOLD_TO_GO}


def keep(markers: Mapping[str, str], scratch: Path, pilot: Callable[[], int]) -> int:
    """Fork the pilot, wait for its end, end what it left, and return its exit code.

    Args:
        markers: What every process of the agent carries in its environment.
        scratch: Private directory, made here with one for the jobs' temporary files, and removed.
        pilot: What the pilot does; its result is the exit code.
    """
    make_scratch(scratch)
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    adopt_orphans()
    _remove_abandoned(scratch.parent)
    warden = post_warden(partial(_tidy, markers, scratch))
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        _be_pilot(keeper, pilot)
    try:
        return _wait_for(child)
    finally:
        _tidy(markers, scratch, spared=warden.pid)
        warden.dismiss()


def clean_up(markers: Mapping[str, str], grace: float = GRACE, *, spared: int = 0) -> None:
    """End all processes that carry the markers or are ours: SIGTERM, and SIGKILL after a grace.

    Args:
        markers: What they carry.
        grace: Seconds between the two.
        spared: One of ours that is to stay.
    """
    end = time.monotonic() + grace
    give_up = end + PATIENCE
    number = signal.SIGTERM
    told: set[int] = set()
    while (left := _left(markers) - {spared}) and time.monotonic() < give_up:
        if time.monotonic() >= end:
            number = signal.SIGKILL
        send(number, left if number is signal.SIGKILL else left - told)
        told |= left
        _reap()
        time.sleep(_LOOK)
    _reap()


def _tidy(markers: Mapping[str, str], scratch: Path, *, spared: int = 0) -> None:
    clean_up(markers, spared=spared)
    shutil.rmtree(scratch, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    """Remove, beside all else, what killed agents have left: it may be much."""
    left = abandoned(parent)
    if left and os.fork() == 0:
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
            for path, _ in left:
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os._exit(0)
    for _, lock in left:
        os.close(lock)


def _be_pilot(keeper: int, pilot: Callable[[], int]) -> Never:
    """Run the pilot in the forked child; never return."""
    code = 70
    try:
        die_with_parent(keeper, signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
        code = pilot()
    except BaseException:  # noqa: BLE001 - told to the log, and by the exit code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _wait_for(child: int) -> int:
    """Pass signals on until the pilot has ended; return its exit code, 128 + n for signal n."""
    while True:
        number = signal.sigwait(_AWAITED)
        if number is not signal.SIGCHLD:
            os.kill(child, number)
            continue
        status = _reap().get(child)
        if status is not None:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _reap() -> dict[int, int]:
    """Take the wait status of every child that has ended."""
    ended = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            ended[pid] = status
    return ended


def _left(markers: Mapping[str, str]) -> set[int]:
    table = process_table()
    carried = [f"{name}={value}" for name, value in markers.items()]
    ours = marked(carried) | tree_of(os.getpid(), table)
    return (ours & table.keys()) - {os.getpid()}
