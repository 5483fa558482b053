"""Run the commands of a batch system: with a time limit, without our secrets."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from batchpilot_agent.errors import LaunchPostponed, LaunchRefused
from batchpilot_agent.launch import clean_environment


PATIENCE = 60.0
_MOMENT = 0.5
"""Seconds between looks whether a command has ended whose output is still held open."""

_NO_COMMAND = (errno.EACCES, errno.EPERM, errno.ENOEXEC)

# What a batch system tells the job that we may be part of would mislead the one we submit.
_OF_JOBS = (
    "SLURM_ARRAY_",
    "SLURM_JOB",
    "SLURM_TASK",
    "SLURM_NTASKS",
    "SLURM_CPUS_",
    "SLURM_MEM_",
    "SLURM_TRES_",
    "PBS_ARRAY",
    "PBS_JOB",
    "LSB_JOB",
    "SGE_TASK_",
    "JOB_ID",
    "BSUB_QUIET",
    "BSUB_STDERR",
    "BATCHPILOT_AGENT",
    "BATCHPILOT_SLOT",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """Hold how a command ended and what it wrote."""

    code: int
    stdout: str = ""
    stderr: str = ""

    @property
    def words(self) -> str:
        """Return what it wrote, errors last."""
        return "\n".join(filter(None, (self.stdout.strip(), self.stderr.strip())))


class Run(Protocol):
    """Run a command and wait for its end."""

    def __call__(
        self, argv: Sequence[str], *, cwd: Path | None = None, stdin: str = ""
    ) -> Completed:
        """Return how it ended."""


def submitting_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a batch system's commands, and so for the jobs they submit."""
    clean = clean_environment(environment)
    return {name: value for name, value in clean.items() if not name.startswith(_OF_JOBS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """Run commands on this machine.

    Attributes:
        environment: Their environment.
        prefix: What every command line begins with, as `("ssh", "login")` would.
        patience: Seconds after which a command is ended: some wait for their daemons for ever.
    """

    environment: Mapping[str, str] = field(
        default_factory=lambda: submitting_environment(os.environ)
    )
    prefix: tuple[str, ...] = ()
    patience: float = PATIENCE

    def __call__(
        self, argv: Sequence[str], *, cwd: Path | None = None, stdin: str = ""
    ) -> Completed:
        """Run a command and return how it ended.

        Raises:
            LaunchRefused: There is no such command, or it is none.
            LaunchPostponed: It cannot be started now, or does not come to an end.
        """
        try:
            with tempfile.TemporaryFile() as given:  # no pipe: it would have to be served
                given.write(stdin.encode())
                given.seek(0)
                process = self._start(argv, cwd, given)
        except OSError as error:
            raise LaunchPostponed(f"no temporary file for {argv[0]}: {error.strerror}") from error
        ended, out, err = _hear(process, self.patience)
        if not ended:
            os.killpg(process.pid, signal.SIGKILL)
            _, out, err = _hear(process)
        for pipe in filter(None, (process.stdout, process.stderr)):
            pipe.close()
        code, words = process.poll() or 0, [part.decode(errors="replace") for part in (out, err)]
        said = Completed(code=code, stdout=words[0], stderr=words[1])
        if not ended:
            raise LaunchPostponed(
                f"{argv[0]} did not end within {self.patience:.0f} s"
                f"{f': {said.words}' if said.words else ''}"
            )
        return said

    def _start(
        self, argv: Sequence[str], cwd: Path | None, stdin: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [*self.prefix, *argv],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                env=dict(self.environment),
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise LaunchRefused(
                f"{error.filename} is not there", remedy=f"{argv[0]} must be on this machine's PATH"
            ) from error
        except OSError as error:
            words = f"{argv[0]} cannot be started: {error.strerror}"
            if error.errno in _NO_COMMAND:
                remedy = f"the first {argv[0]} on PATH must be a command that you may run"
                raise LaunchRefused(words, remedy=remedy) from error
            raise LaunchPostponed(words) from error


def _hear(process: subprocess.Popen[bytes], patience: float = 0.0) -> tuple[bool, bytes, bytes]:
    """Return whether a process has ended, and its output and errors until then.

    What it leaves behind may hold its output open for ever: it is waited for but a moment.
    """
    ended, deadline = False, time.monotonic() + patience
    while True:
        try:
            out, err = process.communicate(timeout=_MOMENT)
        except subprocess.TimeoutExpired as error:
            before, ended = ended, process.poll() is not None
            if before or (not ended and time.monotonic() >= deadline):
                return ended, error.stdout or b"", error.stderr or b""
        else:
            return True, out, err
