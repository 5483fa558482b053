"""Jobs that end badly: each gets its reason, is charged or not, and costs nobody else anything."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, numbers

import batchpilot as bp
from batchpilot import control
from batchpilot_agent.pilot.pilot import AGAIN

from . import work
from .conftest import Tell
from .tools import written


KINDS = (
    "fine", "sleeps", "deaf", "eats", "signal", "fine", "exit", "raises",
    "returns once", "returns always", "fine",
)  # fmt: skip
IDS = {kind: at for at, kind in enumerate(KINDS, 1)}
STALLS = 30.0
"""Seconds that a busy machine may take to end a job, which would sleep for 600."""


@pytest.fixture(scope="module")
def ended(make_shared: MakeStudy) -> bp.Registry:
    """Give a registry in which each kind of job has ended."""
    registry = make_shared("poison")
    ids = range(1, len(KINDS) + 1)
    registry.batch_map(work.poison, i=ids, kind=list(KINDS))
    limited = {"sleeps": {"walltime": 1}, "deaf": {"walltime": 1}, "eats": {"memory": 300}}
    for kind, resources in limited.items():
        registry.submit_jobs(IDS[kind], resources)
    registry.submit_jobs([job for job in ids if KINDS[job - 1] not in limited])
    assert not registry.wait_for_jobs(timeout=90, progress=False)
    return registry


def message(registry: bp.Registry, kind: str) -> str:
    """Return what a user is told of a job that has no result."""
    return str(registry.get_error_messages(IDS[kind])["message"].iloc[0])


def column(registry: bp.Registry, name: str, kind: str) -> int:
    """Return a number of the job's state."""
    return numbers(registry, name)[IDS[kind] - 1]


def test_each_state_is_what_it_should_be(ended: bp.Registry) -> None:
    assert ended.find_done() == [j for j, k in enumerate(KINDS, 1) if k in {"fine", "returns once"}]
    assert ended.find_error() == [IDS["raises"]]
    assert len(ended.find_expired()) == 6


@pytest.mark.parametrize("kind", ["sleeps", "deaf"])
def test_a_job_over_its_walltime_expires_at_once(ended: bp.Registry, kind: str) -> None:
    row = written(ended)
    row = row[row["job"] == IDS[kind]]

    assert message(ended, kind) == "walltime of 1 s exceeded"
    assert column(ended, "attempt", kind) == 1
    assert column(ended, "charged", kind) == 0
    assert 0.99 <= row["ended"][0] - row["started"][0] < STALLS  # the system's clock may be slewed


def test_a_job_over_its_memory_expires_by_all_its_processes_together(ended: bp.Registry) -> None:
    assert re.fullmatch(r"memory of 300 MB exceeded \(\d+ MB used\)", message(ended, "eats"))
    assert column(ended, "attempt", "eats") == 1
    assert ended.get_job_status(IDS["eats"])["mem_used"].iloc[0] > 300


@pytest.mark.parametrize(
    ("kind", "reason"), [("signal", "signal 11 (SIGSEGV)"), ("exit", "exit code 7")]
)
def test_a_job_that_ends_its_process_is_tried_three_times(
    ended: bp.Registry, kind: str, reason: str
) -> None:
    assert message(ended, kind) == reason
    assert column(ended, "attempt", kind) == 3
    assert column(ended, "charged", kind) == 3


def test_an_exception_is_an_error_and_not_tried_again(ended: bp.Registry) -> None:
    assert message(ended, "raises") == f"ValueError: job {IDS['raises']} has no answer"
    assert column(ended, "attempt", "raises") == 1


def test_a_job_handed_back_runs_again_uncharged(ended: bp.Registry) -> None:
    assert column(ended, "attempt", "returns once") == 2
    assert column(ended, "charged", "returns once") == 0
    assert column(ended, "planned", "returns once") == 1


def test_a_job_that_is_always_handed_back_never_fits(ended: bp.Registry) -> None:
    assert message(ended, "returns always").startswith("never fits")
    assert column(ended, "attempt", "returns always") == 10
    assert column(ended, "charged", "returns always") == 0


def test_neighbours_of_poison_run_once(ended: bp.Registry) -> None:
    fine = [job for job, kind in enumerate(KINDS, 1) if kind == "fine"]

    assert [numbers(ended, "charged")[job - 1] for job in fine] == [0, 0, 0]
    assert [ended.load_result(job) for job in fine] == fine


def test_the_mates_of_a_job_that_takes_too_long_run_elsewhere(
    make_study: MakeStudy, until: Until, gates: Path, tell: Tell
) -> None:
    registry = make_study()
    slow, last = 410, 1000
    more = {"which": slow, "gates": str(gates)}
    registry.batch_map(work.gated_one, i=range(1, last + 1), more_args=more)
    registry.submit_jobs(range(1, 401))
    assert registry.wait_for_jobs(timeout=60, progress=False)
    registry.submit_jobs(range(401, last + 1))
    until((gates / f"began-{slow}-1").exists)
    moment = time.monotonic()

    until(lambda: registry.get_status().done == last - 1)  # while the slow one still waits

    tell(f"{last - slow} mates done {time.monotonic() - moment:.1f} s after the slow job began")
    assert "overrun" in (registry.paths.logs / "coordinator.log").read_text()
    (gates / f"open-{slow}-1").touch()
    assert registry.wait_for_jobs(timeout=60, progress=False)
    assert numbers(registry, "attempt")[slow - 1] == 1
    assert max(numbers(registry, "charged")) == 0
    assert len(written(registry)) == last


def test_an_agent_told_to_go_lets_jobs_end_or_hands_them_back_uncharged(
    make_study: MakeStudy, until: Until, gates: Path
) -> None:
    registry = make_study()
    registry.batch_map(work.gated, i=[1, 2], more_args={"gates": str(gates)})
    registry.submit_jobs()
    for job in (1, 2):
        until((gates / f"began-{job}-1").exists)
    until(lambda: bool(control.agents(registry.paths)))
    (agent,) = control.agents(registry.paths)

    os.kill(agent["pid"], signal.SIGTERM)
    until(lambda: drains(registry, agent["id"]))
    (gates / "open-1-1").touch()
    until(lambda: registry.get_status().done == 1)
    told = time.monotonic()
    until(lambda: time.monotonic() - told > AGAIN)
    os.kill(agent["pid"], signal.SIGTERM)  # said again, it gives no more grace
    until((gates / "began-2-2").exists)
    (gates / "open-2-2").touch()

    assert registry.wait_for_jobs(timeout=60, progress=False)
    assert registry.reduce_results_list() == [1, 2]
    assert numbers(registry, "charged") == [0, 0]
    assert numbers(registry, "planned") == [0, 1]
    assert agent["id"] not in {a["id"] for a in control.agents(registry.paths)}


def drains(registry: bp.Registry, agent: str) -> bool:
    """Tell whether an agent says that it is leaving."""
    log = (registry.paths.logs / f"{agent}.log").read_text()
    return "leaving: drain" in log
