"""A job asks its batch system when it ends: what each was seen, or is documented, to answer."""

from __future__ import annotations

import pytest

from batchpilot_agent.errors import LaunchPostponed, LaunchRefused
from batchpilot_agent.launchers.inside import Remaining, ask_end
from batchpilot_agent.launchers.running import Completed

from .conftest import Answers


NOW, BEGAN = 10_100.0, 10_000.0
SLURM = {"SLURM_JOB_ID": "7"}
PBS = {"PBS_JOBID": "33[2].vm"}
LSF = {"LSB_JOBID": "3"}
SGE = {"JOB_ID": "12", "SGE_TASK_ID": "4"}
QSTAT = """Job Id: 33[2].vm
    Job_Name = bp-pbs
    resources_used.walltime = 00:00:02
    Resource_List.place = pack
    Resource_List.walltime = 01:30:00
    Walltime.Remaining = 5398
"""
BJOBS = """
Job <3[2]>, Job Name <n[1-4]>, User <tester>, Project <default>, Status <RUN>

 RUNLIMIT                
 90.0 min of vm
Sun Nov 22 11:25:02: Started on <vm>, Execution Home </home/tester>;

 SCHEDULING PARAMETERS:
           r15s   r1m  r15m
"""  # noqa: W291 - as it is printed
QSTAT_J = """==============================================================
job_number:                 12
hard resource_list:         h_rt=5400,h_vmem=1G
job-array tasks:            1-10:1
"""


def end(environment: dict[str, str], element: str, *said: str) -> tuple[Remaining, list[list[str]]]:
    answers = Answers()
    answers.will(*(Completed(code=0, stdout=words) for words in said))
    found = ask_end(environment, element, answers, now=NOW, began=BEGAN)
    return found, answers.calls


@pytest.mark.parametrize(
    ("left", "seconds"),
    [
        ("2:00", 120),
        ("45", 45),
        ("1:00:05", 3605),
        ("2-01:00:00", 176_400),
        ("Welcome\n5:00\n", 300),
        ("0:00", 0),
    ],
)
def test_slurm_says_how_long_is_left(left: str, seconds: int) -> None:
    found, calls = end(SLURM, "5_2", left)

    assert found == Remaining(ends=NOW + seconds)
    assert calls == [["squeue", "--noheader", "--jobs=5_2", "--format=%L"]]


@pytest.mark.parametrize("words", ["UNLIMITED", "NOT_SET", "INVALID", "", "N/A"])
def test_what_is_no_time_is_no_end_and_is_told(words: str) -> None:
    found, _ = end(SLURM, "5_2", words)

    assert found.ends == 0.0
    assert found.words == (f"squeue --noheader --jobs=5_2 --format=%L: {words or 'not a word'}")


@pytest.mark.parametrize(
    ("environment", "element", "answer", "call"),
    [
        (PBS, "33[2].vm", QSTAT, ["qstat", "-f", "33[2].vm"]),
        (LSF, "3[2]", BJOBS, ["bjobs", "-l", "3[2]"]),
        (SGE, "12.4", QSTAT_J, ["qstat", "-j", "12"]),
    ],
)
def test_others_say_how_long_a_job_may_take_from_its_start(
    environment: dict[str, str], element: str, answer: str, call: list[str]
) -> None:
    found, calls = end(environment, element, answer)

    assert found == Remaining(ends=BEGAN + 5400)
    assert calls == [call]


@pytest.mark.parametrize(
    ("asked", "queue", "seconds"),
    [
        (QSTAT_J, "h_rt                  1:00:00", 3600),
        (QSTAT_J, "h_rt                  INFINITY", 5400),
        ("job_number:  12\n", "s_rt   100\nh_rt                  86400", 86400),
        ("hard resource_list:  h_rt=00:30:00", "h_rt   INFINITY", 1800),
    ],
)
def test_grid_engine_ends_a_job_by_its_own_limit_or_its_queues(
    asked: str, queue: str, seconds: int
) -> None:
    found, calls = end({**SGE, "QUEUE": "all.q"}, "12.4", asked, queue)

    assert found.ends == BEGAN + seconds
    assert calls[1] == ["qconf", "-sq", "all.q"]


@pytest.mark.parametrize(
    "error",
    [
        LaunchRefused("squeue is not there"),
        LaunchPostponed("squeue did not end within 30 s"),
        BlockingIOError(11, "Resource temporarily unavailable"),
    ],
)
def test_a_command_that_cannot_be_run_tells_no_end(error: Exception) -> None:
    def run(*_args: object, **_options: object) -> Completed:
        raise error

    found = ask_end(SLURM, "5_2", run, now=NOW, began=BEGAN)

    assert found == Remaining(words=str(error))


def test_outside_of_any_batch_system_nothing_is_asked() -> None:
    assert end({"PATH": "/bin"}, "") == (Remaining(), [])
