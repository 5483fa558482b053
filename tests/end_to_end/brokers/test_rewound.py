"""The broker's data of a while ago are put back: what they have queued has long been run."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, numbers
from tests.end_to_end.edges_places.conftest import MakeBroker
from tests.end_to_end.failures.conftest import Tell
from tests.end_to_end.failures.tools import run_twice
from tests.end_to_end.failures.work import brief


JOBS = 6000


def test_an_older_state_is_known_as_such_and_filled_anew(
    make_study: MakeStudy, make_broker: MakeBroker, tmp_path: Path, until: Until, tell: Tell
) -> None:
    broker = make_broker("appendonly yes", "appendfsync always", "appenddirname aof")
    registry = make_study()
    registry.batch_map(brief, i=range(1, JOBS + 1), more_args={"seconds": 0.003})
    registry.submit_jobs()
    until(lambda: registry.get_status().done > 200)
    shutil.copytree(broker.home / "aof", tmp_path / "older")
    then = registry.get_status().done
    until(lambda: registry.get_status().done > then + 1500)
    broker.stop()
    shutil.rmtree(broker.home / "aof")
    shutil.copytree(tmp_path / "older", broker.home / "aof")
    broker.start()
    moment = time.monotonic()

    assert registry.wait_for_jobs(timeout=90, progress=False)
    tell(f"all done {time.monotonic() - moment:.1f} s after an older state was put back")
    assert int(broker.client.get(f"bp:{registry.instance}:generation") or 0) == 2
    tell(f"{run_twice(registry, JOBS)} of {JOBS} jobs run twice, each counted once")
    assert max(numbers(registry, "charged")) == 0
