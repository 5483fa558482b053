"""One small run with all that can happen in it, scraped by a real Prometheus from its beginning."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy

import batchpilot as bp
from batchpilot import control

from .prometheus import Prometheus, started


JOBS = 90
CALM = 'sum(batchpilot_jobs{state=~"queued|running"})'


@dataclass(frozen=True, slots=True)
class Run:
    """Hold what was run and who watched."""

    prometheus: Prometheus
    registry: bp.Registry


def define(registry: bp.Registry) -> None:
    """Define jobs that sleep; some raise, one ends its process."""

    def work(i: int) -> int:
        time.sleep(0.15)
        if i == 20:
            os._exit(3)
        if i % 7 == 3:
            raise ValueError(i)
        return i

    registry.batch_map(work, i=range(JOBS))


def lose_an_agent(registry: bp.Registry, until: Until) -> None:
    """Kill an agent that is at work."""
    until(lambda: registry.get_status().done > 20)
    (agent,) = control.agents(registry.paths)
    os.kill(agent["pid"], signal.SIGKILL)


@pytest.fixture(scope="module")
def run(
    make_shared: MakeStudy, tmp_path_factory: pytest.TempPathFactory, until: Until
) -> Iterator[Run]:
    """Give a registry whose run is over, and the Prometheus that has seen all of it."""
    if shutil.which("prometheus") is None:
        pytest.skip("Prometheus is not here: scripts/test-deps installs it")
    place = tmp_path_factory.mktemp("prometheus")
    with started(place) as prometheus:
        registry = make_shared("watched", pool=bp.pools.Local(slots=2))
        (place / "targets" / "watched.json").symlink_to(registry.paths.targets)
        until(prometheus.ready)
        registry.database.back_up(time.time_ns())
        control.start(registry.paths)
        until(lambda: prometheus.value("batchpilot_build_info"))
        define(registry)
        registry.submit_jobs(range(1, 61))
        registry.submit_jobs(range(61, JOBS + 1), resources={"measure_memory": True})
        lose_an_agent(registry, until)
        registry.wait_for_jobs(progress=False)
        until(lambda: prometheus.value("sum(batchpilot_jobs_finished_total)") == JOBS)
        until(lambda: prometheus.value(CALM) == 0)
        until(lambda: prometheus.series("registry:batchpilot_jobs_eta_seconds:rate15m"))
        yield Run(prometheus, registry)
