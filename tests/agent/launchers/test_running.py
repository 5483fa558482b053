"""Commands of batch systems: ended in time, and started without secrets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.conftest import Until

from batchpilot_agent.errors import LaunchPostponed, LaunchRefused
from batchpilot_agent.launchers.running import Runner, submitting_environment


def test_a_command_tells_its_code_and_its_words() -> None:
    said = Runner()(["sh", "-c", "cat; echo err >&2; exit 3"], stdin="out\n")

    assert (said.code, said.stdout, said.stderr, said.words) == (3, "out\n", "err\n", "out\nerr")


def test_a_command_that_waits_for_ever_is_ended_with_all_it_started(until: Until) -> None:
    with pytest.raises(LaunchPostponed, match="did not end within 5 s: still trying ") as caught:
        Runner(patience=5.0)(["sh", "-c", "sleep 1000 & echo still trying $!; wait"])

    child = int(caught.value.message.split()[-1])
    until(lambda: not is_running(child))


@pytest.mark.parametrize("ends", ["exit 3", "sleep 0.7; exit 3"])
def test_what_a_command_leaves_behind_keeps_nobody_waiting_for_its_code(ends: str) -> None:
    began = time.monotonic()

    said = Runner(patience=30.0)(["bash", "-c", f"setsid sleep 600 & echo $! 7; {ends}"])

    assert time.monotonic() - began < 20.0
    left, number = map(int, said.stdout.split())
    os.kill(left, signal.SIGKILL)
    assert (said.code, number) == (3, 7)


def test_a_command_is_ended_also_where_what_it_left_behind_is_not() -> None:
    began = time.monotonic()

    with pytest.raises(LaunchPostponed, match="did not end within 5 s: left ") as caught:
        Runner(patience=5.0)(["bash", "-c", "setsid sleep 600 & echo left $!; sleep 600"])

    assert time.monotonic() - began < 50.0
    os.kill(int(caught.value.message.split()[-1]), signal.SIGKILL)


def test_a_command_that_closes_its_output_is_waited_for() -> None:
    said = Runner(patience=30.0)(["bash", "-c", "echo 7; exec >&- 2>&-; sleep 1.2; exit 3"])

    assert (said.code, said.stdout) == (3, "7\n")


def test_a_command_that_reads_late_gets_all_of_its_script() -> None:
    said = Runner(patience=30.0)(["bash", "-c", "sleep 0.7; wc -c"], stdin="x" * 200_000)

    assert said.stdout.strip() == "200000"


def test_much_is_read_and_written_at_once() -> None:
    much = "é" * 500_000

    said = Runner()(["sh", "-c", "cat; printf '\\377' >&2"], stdin=much)

    assert (said.stdout, said.stderr) == (much, "\N{REPLACEMENT CHARACTER}")


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_command_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(LaunchRefused, match="nosuch-qsub is not there; nosuch-qsub must be on"):
        Runner()(["nosuch-qsub"])


@pytest.mark.parametrize("words", ["", "\0 neither a program nor a script"])
def test_a_command_that_is_none_is_refused_with_a_remedy(tmp_path: Path, words: str) -> None:
    command = tmp_path / "sbatch"
    command.write_text(words)
    command.chmod(0o755 if words else 0o644)

    with pytest.raises(LaunchRefused, match=r"sbatch cannot be started: .*; the first .*sbatch on"):
        Runner()([str(command)])


def test_a_command_that_the_machine_cannot_start_is_postponed() -> None:
    with pytest.raises(LaunchPostponed, match="sh cannot be started: Argument list too long"):
        Runner()(["sh", "x" * 10_000_000])


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
        "BSUB_STDERR": "y",
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
