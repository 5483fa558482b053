"""Ask a batch system, from inside one of its jobs, when that job ends.

It is for jobs whose end nothing else tells: the pool gives no walltime, so the site's own counts,
and the environment does not have it. One or two commands, asked once:

| | command | what is read | counts from |
|---|---|---|---|
| Slurm | `squeue --format=%L` | days-hours:minutes:seconds, or UNLIMITED | now |
| PBS, Torque | `qstat -f` | `Resource_List.walltime` | the job's start |
| LSF | `bjobs -l` | minutes below `RUNLIMIT` | the job's start |
| SGE | `qstat -j`, and `qconf -sq` of the queue | `h_rt`, the shorter one | the job's start |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from batchpilot_agent.errors import LaunchError

from .running import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """Hold what a batch system says about the end of a job.

    Attributes:
        ends: Unix time of the end, 0 where it tells none.
        words: Where it tells none, what it was asked and what it said.
    """

    ends: float = 0.0
    words: str = ""


@dataclass(frozen=True, slots=True)
class _Question:
    """Hold a command, the pattern of a time in its answer, and what that time counts from."""

    argv: tuple[str, ...]
    pattern: re.Pattern[str]
    unit: float = 1.0
    from_now: bool = False


_TIME = r"((?:\d+-)?\d+(?::\d+)*(?:\.\d+)?)"
_LEFT = re.compile(rf"^\s*{_TIME}\s*$", re.MULTILINE)
_WALLTIME = re.compile(rf"^\s*Resource_List\.walltime = {_TIME}\s*$", re.MULTILINE)
_RUNLIMIT = re.compile(rf"^\s*RUNLIMIT\s+{_TIME} min", re.MULTILINE)
_REQUESTED = re.compile(rf"\bh_rt={_TIME}(?![:\d])")
_OF_QUEUE = re.compile(rf"^h_rt\s+{_TIME}", re.MULTILINE)


def ask_end(
    environment: Mapping[str, str], element: str, run: Run, *, now: float, began: float
) -> Remaining:
    """Return when the job ends that has this environment.

    Args:
        environment: Its variables.
        element: Its name in the batch system.
        run: Runs commands.
        now: The Unix time.
        began: Unix time of the job's start.
    """
    ends, words = [], []
    for question in _questions(environment, element):
        try:
            said = run(question.argv)
        except (LaunchError, OSError) as error:
            words.append(str(error))
            continue
        found = question.pattern.search(said.stdout)
        if found is None:
            words.append(f"{' '.join(question.argv)}: {said.words[-200:] or 'not a word'}")
            continue
        seconds = _seconds(found.group(1)) * question.unit
        ends.append((now if question.from_now else began) + seconds)
    return Remaining(ends=min(ends)) if ends else Remaining(words="; ".join(words))


def _questions(environment: Mapping[str, str], element: str) -> tuple[_Question, ...]:
    if "SLURM_JOB_ID" in environment:
        options = ("--noheader", f"--jobs={element}", "--format=%L")
        return (_Question(("squeue", *options), _LEFT, from_now=True),)
    if "PBS_JOBID" in environment:
        return (_Question(("qstat", "-f", element), _WALLTIME),)
    if "LSB_JOBID" in environment:
        return (_Question(("bjobs", "-l", element), _RUNLIMIT, unit=60.0),)
    if "SGE_TASK_ID" in environment:
        job, queue = element.partition(".")[0], environment.get("QUEUE", "")
        of_queue = (_Question(("qconf", "-sq", queue), _OF_QUEUE),) if queue else ()
        return (_Question(("qstat", "-j", job), _REQUESTED), *of_queue)
    return ()


def _seconds(text: str) -> float:
    """Return the seconds of `[D-][[H:]M:]S`."""
    days, _, clock = text.rpartition("-")
    total = 0.0
    for part in clock.split(":"):
        total = total * 60 + float(part)
    return total + 86_400 * int(days or 0)
