"""The coordinator's seat at a batch system is taken: whoever works on this host leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, processes_of

import batchpilot as bp
from batchpilot import control
from batchpilot.seat import Seat, Sitter, write_record
from batchpilot.store.owner import read_owner
from batchpilot_broker.paths import RegistryPaths

from .tools import access_of, coordinator_pid, kill, supervisor_pid


WITHIN = 40.0
SUPERVISE = """
import sys
from pathlib import Path
from batchpilot.supervisor import Supervisor
from batchpilot_broker.paths import RegistryPaths
sys.exit(Supervisor(RegistryPaths(Path(sys.argv[1])), grace=0.5).run())
"""
ELSEWHERE = Seat(pool="slurm", kind="Slurm", allocation="there", walltime=600.0, submitted=1.0)


def begin_elsewhere(paths: RegistryPaths) -> None:
    """Have the supervisor in the allocation of a seat begin."""
    paths.allocation(ELSEWHERE.allocation).mkdir()
    write_record(paths.seat, ELSEWHERE)
    sitter = Sitter(host="node7", pid=1, began=time.time())
    write_record(paths.sitter(ELSEWHERE.allocation), sitter)


@pytest.fixture
def study(make_study: MakeStudy) -> bp.Registry:
    """Give a registry with supervisor, broker and coordinator on this host."""
    registry = make_study()
    control.start(registry.paths)
    return registry


def kill_supervisor(registry: bp.Registry) -> None:
    """Kill the supervisor alone."""
    kill(supervisor_pid(registry))
    control._supervisors[registry.paths.root].wait()


def at_work(registry: bp.Registry) -> bool:
    """Tell whether the coordinator has come to its first round."""
    control.Nudger(registry.paths, registry.instance).nudge()
    with registry.database.read() as tx:
        return str(tx.meta("stream")) != "0"


def test_a_coordinator_that_was_adopted_is_ended_with_its_broker(
    study: bp.Registry, until: Until
) -> None:
    first = supervisor_pid(study)
    kill_supervisor(study)
    os.kill(coordinator_pid(study), signal.SIGSTOP)  # it does not leave by itself
    words = [sys.executable, "-c", SUPERVISE, str(study.paths.root)]
    with subprocess.Popen(words, stderr=subprocess.PIPE) as second:
        until(lambda: supervisor_pid(study) != first)
        begin_elsewhere(study.paths)
        said = second.communicate(timeout=WITHIN)[1].decode()
    study.paths.seat.unlink()

    assert second.returncode == 0, said
    assert processes_of(study.paths) == []


def test_a_coordinator_without_a_supervisor_leaves_by_itself_and_ends_the_broker(
    study: bp.Registry, until: Until
) -> None:
    kill_supervisor(study)
    begin_elsewhere(study.paths)

    until(lambda: not processes_of(study.paths), WITHIN)

    study.paths.seat.unlink()
    assert coordinator_pid(study) == 0
    assert (study.paths.logs / "coordinator.log").read_text().count("Traceback") == 0


def test_a_coordinator_that_waits_for_its_broker_leaves_too(
    study: bp.Registry, until: Until
) -> None:
    until(lambda: at_work(study))
    kill_supervisor(study)
    kill(access_of(study).pid)
    log = study.paths.logs / "coordinator.log"
    until(lambda: "BrokerChanged(up=False" in log.read_text())
    assert coordinator_pid(study)
    begin_elsewhere(study.paths)

    until(lambda: not processes_of(study.paths), WITHIN)

    study.paths.seat.unlink()
    assert read_owner(study.paths).pid == 0
