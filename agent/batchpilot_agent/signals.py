"""The signals by which users and batch systems say that it is time to go."""

from __future__ import annotations

import signal


TOLD_TO_GO = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU),
)
"""Of Slurm's `--signal`, LSF's `-wa`, SGE's `-notify` and `s_rt`, qdel, scancel, Ctrl-C."""
