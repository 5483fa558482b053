"""What a batch system has given this agent: its name there, cores, memory, devices, and an end.

Read from the environment that each system sets in a job; what it leaves unsaid stays 0 or empty,
and then the agent's own arguments, or what the machine has, stand.

| | element | cores | memory | ends |
|---|---|---|---|---|
| Slurm | `SLURM_ARRAY_JOB_ID`_`SLURM_ARRAY_TASK_ID`, else `SLURM_JOB_ID` | `SLURM_CPUS_ON_NODE` | `SLURM_MEM_PER_NODE`, `SLURM_MEM_PER_CPU` | `SLURM_JOB_END_TIME` |
| PBS | `PBS_JOBID` | `NCPUS`, else lines of `PBS_NODEFILE` | | |
| Torque | `PBS_JOBID` | lines of `PBS_NODEFILE` that name this host | | |
| LSF | `LSB_JOBID`[`LSB_JOBINDEX`] | `LSB_MCPU_HOSTS` of this host | | |
| SGE | `JOB_ID`.`SGE_TASK_ID` | `NSLOTS` | | |

Devices are those of `CUDA_VISIBLE_DEVICES` (or ROCm's or Intel's name for it), which all of them set where they know of
devices, else `SLURM_JOB_GPUS`. Whatever they say, nobody gets more cores than those to which affinity and
control group confine it, nor more memory than the control group allows.
"""  # noqa: E501 - a table cannot be wrapped

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


DEVICE_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
"""Variables by which programs are told the devices that are theirs."""

_NO_DEVICES = frozenset(("", "-1", "NoDevFiles"))
_MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """Hold what this agent was given.

    Attributes:
        element: Name of this very job in the batch system, "" outside of any.
        cores: Cores, 0 where nothing says.
        memory: MB, 0 where nothing says.
        devices: Names of the devices.
        ends: Unix time of its end, 0 where nothing says.
    """

    element: str = ""
    cores: int = 0
    memory: float = 0.0
    devices: tuple[str, ...] = ()
    ends: float = 0.0


def read_allocation(
    environment: Mapping[str, str], host: str, cgroup: Path = Path("/sys/fs/cgroup")
) -> Allocation:
    """Return what the environment of a job says of it.

    Args:
        environment: The variables.
        host: Name of this machine, to find it in lists of hosts.
        cgroup: Where control groups are mounted.
    """
    cores = _cores(environment, host)
    own = own_group(cgroup)
    bounds = [n for n in (cores, _affinity(), _group_cores(own)) if n]
    memories = [n for n in (_memory(environment, cores), _group_memory(own)) if n]
    return Allocation(
        element=_element(environment),
        cores=min(bounds) if cores else 0,
        memory=min(memories, default=0.0),
        devices=_devices(environment),
        ends=_number(environment.get("SLURM_JOB_END_TIME", "")),
    )


def usable_cores(group: Path | None = None) -> int:
    """Return the cores this process may use: by its affinity, and by its control group's quota."""
    cores = len(os.sched_getaffinity(0))
    quota = _group_cores(group or own_group(Path("/sys/fs/cgroup")))
    return max(1, min(cores, quota)) if quota else cores


def _affinity() -> int:
    """Return the cores that this process is confined to, 0 where it has the whole machine.

    A batch system may count more cores than there are, and lets them be shared then.
    """
    cores = len(os.sched_getaffinity(0))
    return 0 if cores == os.cpu_count() else cores


def own_group(mounted: Path) -> Path:
    """Return the directory of this process's own control group (version 2)."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return mounted
    own = next((line.split(":", 2)[2] for line in lines if line.startswith("0::")), "/")
    group = mounted / own.lstrip("/")
    return group if group.is_dir() else mounted


def _element(environment: Mapping[str, str]) -> str:
    get = environment.get
    if "SLURM_JOB_ID" in environment:
        array, task = get("SLURM_ARRAY_JOB_ID"), get("SLURM_ARRAY_TASK_ID")
        return f"{array}_{task}" if array and task else get("SLURM_JOB_ID", "")
    if "PBS_JOBID" in environment:
        return get("PBS_JOBID", "")
    if "LSB_JOBID" in environment:
        index = get("LSB_JOBINDEX", "0")
        return get("LSB_JOBID", "") + ("" if index == "0" else f"[{index}]")
    if "SGE_TASK_ID" in environment:
        task = get("SGE_TASK_ID", "")
        return get("JOB_ID", "") + ("" if task == "undefined" else f".{task}")
    return ""


def _cores(environment: Mapping[str, str], host: str) -> int:
    if "SLURM_JOB_ID" in environment:
        return int(_number(environment.get("SLURM_CPUS_ON_NODE", "")))
    if "PBS_JOBID" in environment:
        said = int(_number(environment.get("NCPUS", "")))
        return said or _lines_of(environment.get("PBS_NODEFILE", ""), host)
    if "LSB_JOBID" in environment:
        return _pairs_of(environment.get("LSB_MCPU_HOSTS", ""), host)
    if "SGE_TASK_ID" in environment:
        return int(_number(environment.get("NSLOTS", "")))
    return 0


def _memory(environment: Mapping[str, str], cores: int) -> float:
    node = _number(environment.get("SLURM_MEM_PER_NODE", ""))
    return node or cores * _number(environment.get("SLURM_MEM_PER_CPU", ""))


def _devices(environment: Mapping[str, str]) -> tuple[str, ...]:
    for name in (*DEVICE_VARIABLES, "SLURM_JOB_GPUS"):
        value = environment.get(name)
        if value is not None and value not in _NO_DEVICES:
            return tuple(value.split(","))
    return ()


def _lines_of(node_file: str, host: str) -> int:
    """Return how often a node file names this host; a file of one line means all of it."""
    try:
        lines = Path(node_file).read_text().split()
    except OSError:
        return 0
    mine = sum(_same_host(line, host) for line in lines)
    return mine or (len(lines) if len(set(lines)) == 1 else 0)


def _pairs_of(text: str, host: str) -> int:
    """Return the cores of this host in a list such as "n1 4 n2 8"."""
    words = text.split()
    pairs = list(zip(words[::2], words[1::2], strict=False))
    mine = sum(int(_number(cores)) for name, cores in pairs if _same_host(name, host))
    return mine or (int(_number(pairs[0][1])) if len(pairs) == 1 else 0)


def _same_host(name: str, host: str) -> bool:
    return name.partition(".")[0] == host.partition(".")[0]


def _group_cores(group: Path) -> int:
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return 0 if quota == "max" else -(-int(quota) // int(period))
    except (OSError, ValueError):
        return 0  # no such file: the group, or its kernel, sets no quota


def _group_memory(group: Path) -> float:
    try:
        text = (group / "memory.max").read_text().strip()
        return 0.0 if text == "max" else int(text) / _MEGABYTE
    except (OSError, ValueError):
        return 0.0  # as above


def _number(text: str) -> float:
    """Return the number that a value such as "4(x2)" begins with; 0 where there is none."""
    digits = text.split("(", maxsplit=1)[0].split(",", maxsplit=1)[0].strip()
    return float(digits) if digits.replace(".", "", 1).isdigit() else 0.0
