"""A site's broker is away for 60 s: jobs run on, nobody is judged, and work goes on after."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, numbers
from tests.end_to_end.edges_places.conftest import MakeBroker
from tests.end_to_end.failures.conftest import Tell
from tests.end_to_end.failures.tools import assert_each_done_once, written
from tests.end_to_end.failures.work import gated_or_brief


JOBS = 2000
SECONDS = 60.0


@pytest.mark.timeout(240)
def test_after_60_s_without_broker_long_jobs_are_kept_and_work_goes_on(
    make_study: MakeStudy, make_broker: MakeBroker, gates: Path, until: Until, tell: Tell
) -> None:
    broker = make_broker("appendonly yes", "appendfsync always")
    registry = make_study()
    registry.batch_map(
        gated_or_brief, i=range(1, JOBS + 1), more_args={"first": 1, "gates": str(gates)}
    )
    registry.submit_jobs()
    until(lambda: registry.get_status().done > 100 and (gates / "began-1-1").exists())
    broker.stop()
    stopped = time.monotonic()
    (gates / "open-1-1").touch()
    until(lambda: 1 in written(registry)["job"])
    until(lambda: time.monotonic() - stopped > SECONDS)
    broker.start()
    moment = time.monotonic()
    until(lambda: 1 in registry.find_done())
    tell(f"what was done meanwhile is known {time.monotonic() - moment:.1f} s after the broker")

    assert registry.wait_for_jobs(timeout=60, progress=False)
    tell(f"{JOBS} jobs are done {time.monotonic() - moment:.1f} s after the broker")
    assert_each_done_once(registry, JOBS)
    assert max(numbers(registry, "charged")) == 0
    assert numbers(registry, "attempt")[0] == 1
