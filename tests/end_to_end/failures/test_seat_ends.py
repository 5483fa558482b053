"""An allocation in which the coordinator has its seat ends: nothing of it stays on the node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, processes_of

import batchpilot as bp
from batchpilot.seat import Seat, Sitter, read_sitter, write_record
from batchpilot_broker.host import process_start

from .tools import access_of, coordinator_pid


HERE = Seat(pool="slurm", kind="Slurm", allocation="here", walltime=600.0, submitted=1.0)
KILLED_AFTER = 10.0
"""Seconds between the first signal and the last one of the least patient batch system."""


@pytest.fixture
def study(make_study: MakeStudy) -> bp.Registry:
    """Give a registry whose seat is an allocation here."""
    registry = make_study()
    registry.paths.allocation(HERE.allocation).mkdir()
    write_record(registry.paths.seat, HERE)
    return registry


@pytest.fixture
def seated(study: bp.Registry, until: Until) -> Iterator[subprocess.Popen[bytes]]:
    """Give the supervisor there, once its coordinator is in office."""
    words = [sys.executable, "-m", "batchpilot.seated", str(study.paths.root), HERE.allocation]
    with subprocess.Popen([*words, "--element", "1"], stderr=subprocess.PIPE) as process:
        until(lambda: coordinator_pid(study))
        yield process
        process.kill()
    study.paths.seat.unlink()


def sitter_of(registry: bp.Registry) -> Sitter:
    found = read_sitter(registry.paths, HERE.allocation)
    assert found is not None
    return found


def test_with_its_supervisor_coordinator_and_broker_end(
    study: bp.Registry, seated: subprocess.Popen[bytes], until: Until
) -> None:
    server = access_of(study).pid
    assert process_start(server)
    seated.kill()
    seated.wait()

    until(lambda: not processes_of(study.paths))

    assert not process_start(server)
    assert sitter_of(study).left == ""


@pytest.mark.parametrize("frozen", [False, True])
def test_at_the_batch_systems_signal_all_leave_before_it_kills(
    study: bp.Registry, seated: subprocess.Popen[bytes], frozen: bool
) -> None:
    if frozen:
        os.kill(coordinator_pid(study), signal.SIGSTOP)
    told = time.monotonic()
    seated.send_signal(signal.SIGTERM)

    seated.wait(2 * KILLED_AFTER)

    assert time.monotonic() - told < KILLED_AFTER
    assert processes_of(study.paths) == []
    assert sitter_of(study).left == "told to leave"
