"""A site's broker comes back at another address: whoever is told of it brings all others there."""

from __future__ import annotations

import time

from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, numbers
from tests.end_to_end.edges_places.conftest import Call, MakeBroker
from tests.end_to_end.failures.conftest import Tell
from tests.end_to_end.failures.tools import access_of, assert_each_done_once
from tests.end_to_end.failures.work import brief


JOBS = 3000
QUICK = 20.0


def test_agents_and_coordinator_follow_a_broker_that_has_moved_with_its_data(
    make_study: MakeStudy, make_broker: MakeBroker, until: Until, call: Call, tell: Tell
) -> None:
    old = make_broker("appendonly yes", "appendfsync always")
    registry = make_study()
    registry.batch_map(brief, i=range(1, JOBS + 1), more_args={"seconds": 0.005})
    registry.submit_jobs()
    until(lambda: registry.get_status().done > 100)
    generation = access_of(registry).generation
    old.stop()
    new = make_broker("appendonly yes", home=old.home)
    assert new.url != old.url
    code, said = call("broker", "start", registry.file_dir)
    moment = time.monotonic()
    assert (code, str(new.socket) in said) == (0, True), said
    before = registry.get_status().done
    until(lambda: registry.get_status().done > before, QUICK)
    tell(f"results come {time.monotonic() - moment:.1f} s after the new address was named")

    assert registry.wait_for_jobs(timeout=60, progress=False)
    assert access_of(registry).generation == generation
    assert_each_done_once(registry, JOBS)
    assert max(numbers(registry, "charged")) == 0


def test_an_empty_broker_named_while_the_old_one_lives_is_used_by_all(
    make_study: MakeStudy, make_broker: MakeBroker, until: Until, call: Call, tell: Tell
) -> None:
    old = make_broker()
    registry = make_study()
    registry.batch_map(brief, i=range(1, JOBS + 1), more_args={"seconds": 0.005})
    registry.submit_jobs()
    until(lambda: registry.get_status().done > 100)
    new = make_broker(home=old.home.with_name("new"))
    assert call("broker", "start", registry.file_dir)[0] == 0
    moment = time.monotonic()
    beats = f"bp:{registry.instance}:beats"
    until(lambda: new.client.hlen(beats) == 1, QUICK + 12)
    tell(f"the agent comes {time.monotonic() - moment:.1f} s after another broker was named")

    assert registry.wait_for_jobs(timeout=60, progress=False)
    assert_each_done_once(registry, JOBS)
    assert max(numbers(registry, "charged")) == 0
