"""Run the commands of a batch system: with a time limit, without our secrets."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from batchpilot_agent.errors import LaunchPostponed, LaunchRefused
from batchpilot_agent.launch import clean_environment


PATIENCE = 60.0

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
            LaunchRefused: There is no such command.
            LaunchPostponed: It does not come to an end.
        """
        try:
            process = subprocess.Popen(
                [*self.prefix, *argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                env=dict(self.environment),
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise LaunchRefused(
                f"{error.filename} is not there", remedy=f"{argv[0]} must be on this machine's PATH"
            ) from error
        try:
            stdout, stderr = process.communicate(stdin, timeout=self.patience)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            said = Completed(code=-1, stderr="".join(process.communicate())).words
            raise LaunchPostponed(
                f"{argv[0]} did not end within {self.patience:.0f} s{f': {said}' if said else ''}"
            ) from error
        return Completed(code=process.returncode, stdout=stdout, stderr=stderr)
