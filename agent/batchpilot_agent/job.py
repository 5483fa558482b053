"""The Job that a function sees when it has a parameter called `job`.

    def fit(x, job):
        job.run(["./simulate", str(x)])         # output to the job's log
        return job.rng.normal(), job.external_dir

What costs something (random generator, directory) is made when it is first asked for.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Any

from batchpilot_broker.host import process_start

from .errors import CommandFailed
from .processes import process_table, tree_of
from .signals import TOLD_TO_GO


if TYPE_CHECKING:
    from numpy.random import Generator

TAIL_LINES = 10
_TAIL_BYTES = 8192
_LOOK = 0.05
_TOLD_AS_WELL = 1.0
"""Seconds after which a signal to a program that was meant for its job, too, has come here."""


class HandBack(BaseException):
    """Raise this in a job to give it back unfinished: it runs again later and is not charged.

    It is meant for a job that was told to go (SIGTERM) and has written its checkpoint. Not an
    `Exception`, so that a library that retries on every error does not swallow it.

    Example:
        def leave(*_):
            save(state, job.external_dir / "state")
            raise bp.HandBack

        signal.signal(signal.SIGTERM, leave)
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Hold what a function may want to know of its job.

    Attributes:
        id: Its number in the registry.
        attempt: Number of this try.
        pars: Its parameters by name.
        resources: Its resources as given to `submit_jobs`.
        seed: What `random` and numpy's legacy generator are seeded with.
        stream: Entropy and spawn key of `rng`.
        registry: The registry's directory.
        repl: Its replication, in experiments.
        instance_seed: The seed in effect while a problem's instance is made.
        problem: Name of its problem.
        algorithm: Name of its algorithm.
    """

    id: int
    attempt: int
    pars: Mapping[str, Any]
    resources: Mapping[str, Any]
    seed: int
    stream: tuple[int, tuple[int, ...]]
    registry: Path
    repl: int | None = None
    instance_seed: int | None = None
    problem: str | None = None
    algorithm: str | None = None
    _rng: list[Generator] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def rng(self) -> Generator:
        """Return the job's own numpy generator: the same numbers wherever and whenever it runs."""
        if not self._rng:
            from numpy.random import (  # noqa: PLC0415 - slow, and few jobs use it
                PCG64,
                Generator,
                SeedSequence,
            )

            entropy, spawn_key = self.stream
            self._rng.append(Generator(PCG64(SeedSequence(entropy=entropy, spawn_key=spawn_key))))
        return self._rng[0]

    @property
    def external_dir(self) -> Path:
        """Return a directory of the registry for the job's own files; it is made here."""
        path = self.registry / "external" / str(self.id)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def run(self, cmd: str | Sequence[str | os.PathLike[str]], *, check: bool = True) -> int:
        """Run a program, its output going to the log, and return its exit code.

        When the job is told to go in mid-run (SIGTERM), the program and all that it has started
        get the signal, too, and may write a checkpoint. The job itself gets it when they have
        ended: then its handler is called, and where it has none it ends and runs again elsewhere.

        Args:
            cmd: Program and arguments; a string is given to the shell.
            check: Whether a failure is an error.

        Raises:
            CommandFailed: It failed or could not be started; says the exit code and its last lines.
        """
        _flush()
        start = _end_of_output()
        try:
            code = _call(cmd)
        except OSError as error:
            raise CommandFailed(
                f"{_words(cmd)} cannot be started: {error.strerror}",
                exit_code=127,
                lines=[],
                remedy="check its name and that it is on the PATH of this node",
            ) from error
        if code and check:
            raise _failure(cmd, code, _tail(start))
        return code


def _call(cmd: str | Sequence[str | os.PathLike[str]]) -> int:
    """Run a program as `subprocess.call` does, but do not leave before it where told to go."""
    with subprocess.Popen(cmd, shell=isinstance(cmd, str)) as program:
        try:
            with _leaving_last(program):
                return program.wait()
        except BaseException:
            program.kill()
            raise


@contextmanager
def _leaving_last(program: subprocess.Popen[bytes]) -> Iterator[None]:
    """Hear that it is time to go only when a program and what it has started heard it and ended.

    Whoever tells a slot tells its whole session, one process after another, and kills all of it
    when the time is over. A session of a user's is told alone, by a `kill`: nothing is put off.
    """
    if os.getsid(0) != os.getpid():
        yield
        return
    since = process_start(program.pid)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TOLD_TO_GO)
    try:
        yield
        end = time.monotonic() + _TOLD_AS_WELL * _was_told(program.returncode)
        while _has_left(since) if _is_told() else time.monotonic() < end:
            time.sleep(_LOOK)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _was_told(code: int) -> bool:
    """Tell whether a program ended by a signal to go, or says so as shells do."""
    return -code in TOLD_TO_GO or code - 128 in TOLD_TO_GO


def _is_told() -> bool:
    """Tell whether a signal to go waits to be heard."""
    return not signal.sigpending().isdisjoint(TOLD_TO_GO)


def _has_left(since: int) -> bool:
    """Tell whether anything lives in our session that was started since some tick."""
    others = tree_of(os.getpid(), process_table()) - {os.getpid()}
    return any(process_start(pid) >= since for pid in others)


def _failure(
    cmd: str | Sequence[str | os.PathLike[str]], code: int, lines: list[str]
) -> CommandFailed:
    how = f"ended with exit code {code}" if code > 0 else f"was ended by {_signal(-code)}"
    said = "".join(f"\n    {line}" for line in lines)
    called = "" if isinstance(cmd, str) else f"; the command: {_words(cmd)}"
    return CommandFailed(
        f"{_name(cmd)} {how}" + (f"; its last lines:{said}\n" if said else "") + called,
        exit_code=code,
        lines=lines,
        remedy="see the whole output with get_log",
    )


def _signal(number: int) -> str:
    return Signals(number).name if number in set(Signals) else f"signal {number}"


def _name(cmd: str | Sequence[str | os.PathLike[str]]) -> str:
    """Return what stands first in tables of errors, where there is little room."""
    return cmd if isinstance(cmd, str) else Path(cmd[0]).name


def _words(cmd: str | Sequence[str | os.PathLike[str]]) -> str:
    return cmd if isinstance(cmd, str) else " ".join(str(os.fspath(word)) for word in cmd)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()


def _end_of_output() -> int | None:
    """Return where output goes on in the file behind fd 1; None where it is no file."""
    status = os.fstat(1)
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _tail(start: int | None) -> list[str]:
    if start is None:
        return []
    with Path("/proc/self/fd/1").open("rb") as output:
        size = output.seek(0, os.SEEK_END)
        output.seek(max(start, size - _TAIL_BYTES))
        return output.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
