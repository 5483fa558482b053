"""The warden: ends what an agent has left where nobody else of it lives to do so.

Batch systems end a job by killing its session (PBS) or its process group (LSF): keeper, pilot and
template at once. The slots die with the template, but the programs that jobs have started do not:
they are in sessions of their own, and nobody who could end them is left. Hence the warden, a fork
of the keeper in a session of its own. It reads from a pipe whose other end keeper and pilot have
and nobody else; when that ends, both are gone, and it tidies up as the keeper does. It is dismissed
when the keeper has done so.

What ends all processes of a job, as control groups do, ends the warden and what it is to end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Never


@dataclass(frozen=True, slots=True)
class Warden:
    """Hold the warden of this agent.

    Attributes:
        pid: Its process, a child of the keeper.
        line: The end of the pipe by which it knows that somebody lives.
    """

    pid: int
    line: int

    def dismiss(self) -> None:
        """Let it go, and wait until it has."""
        with contextlib.suppress(BrokenPipeError):  # somebody has killed it
            os.write(self.line, b".")
        os.close(self.line)
        with contextlib.suppress(ChildProcessError):  # as above, and it was waited for
            os.waitpid(self.pid, 0)


def post_warden(tidy: Callable[[], None]) -> Warden:
    """Fork the warden; processes that are forked before it do not keep it waiting.

    Args:
        tidy: What is to be done when nobody else lives to do it.
    """
    ours, line = map(_above_stdio, os.pipe())
    pid = os.fork()
    if pid == 0:
        os.close(line)
        _watch(ours, tidy)
    os.close(ours)
    return Warden(pid, line)


def _above_stdio(fd: int) -> int:
    """Move a descriptor off the numbers that are given to children, where those were closed."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return moved


def _watch(pipe: int, tidy: Callable[[], None]) -> Never:
    """Wait for the end of the others, in the forked child; never return."""
    try:
        os.setsid()
        if not os.read(pipe, 1):
            tidy()
    except BaseException:  # noqa: BLE001 - told to the log, there is nobody else to tell
        traceback.print_exc()
    finally:
        os._exit(0)
