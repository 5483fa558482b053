"""Commands of batch systems: ended in time, and started without secrets."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest
from tests.conftest import Until

from batchpilot_agent.errors import LaunchPostponed, LaunchRefused
from batchpilot_agent.launchers.running import Runner, submitting_environment


def test_a_command_tells_its_code_and_its_words() -> None:
    said = Runner()(["sh", "-c", "cat; echo err >&2; exit 3"], stdin="out\n")

    assert (said.code, said.stdout, said.stderr, said.words) == (3, "out\n", "err\n", "out\nerr")


def test_a_command_that_waits_for_ever_is_ended_with_all_it_started(until: Until) -> None:
    with pytest.raises(LaunchPostponed, match="did not end within 1 s: still trying ") as caught:
        Runner(patience=1.0)(["sh", "-c", "sleep 1000 & echo still trying $!; wait"])

    child = int(caught.value.message.split()[-1])
    until(lambda: not is_running(child))


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_command_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(LaunchRefused, match="nosuch-qsub is not there; nosuch-qsub must be on"):
        Runner()(["nosuch-qsub"])


def test_neither_secrets_nor_a_job_around_us_reach_the_commands() -> None:
    environment = {
        "PATH": "/bin",
        "SLURM_CONF": "/etc/slurm.conf",
        "SLURM_JOB_ID": "3",
        "SLURM_ARRAY_TASK_ID": "3",
        "PBS_ARRAY_INDEX": "3",
        "LSB_JOBINDEX": "3",
        "SGE_TASK_ID": "3",
        "BSUB_QUIET": "y",
        "BATCHPILOT_AGENT": "a",
        "BATCHPILOT_BROKER_URL": "redis://:hush@x",
        "REDISCLI_AUTH": "hush",
    }

    kept = submitting_environment(environment)

    assert {"PATH", "SLURM_CONF"} <= kept.keys() <= {"PATH", "SLURM_CONF", "PYTHONPATH"}


def test_launchers_are_imported_without_jinja_and_agents_without_launchers() -> None:
    code = (
        "import sys, batchpilot_agent.launchers.choosing;"
        "assert 'jinja2' not in sys.modules;"
        "[sys.modules.pop(m) for m in [*sys.modules] if m.startswith('batchpilot_agent')];"
        "import batchpilot_agent.__main__, batchpilot_agent.pilot.pilot;"
        "assert not [m for m in sys.modules if 'launchers' in m]"
    )

    done = subprocess.run([sys.executable, "-c", code], env=os.environ, check=False)

    assert done.returncode == 0
