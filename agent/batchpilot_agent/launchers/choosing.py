"""The launcher of each kind of pool."""

from __future__ import annotations

from .batch import BatchLauncher
from .lsf import LSF
from .pbs import PBS
from .sge import SGE
from .slurm import Slurm
from .torque import Torque


BATCH_SYSTEMS: dict[str, type[BatchLauncher]] = {
    "Slurm": Slurm,
    "PBS": PBS,
    "Torque": Torque,
    "LSF": LSF,
    "SGE": SGE,
}
