"""Another Redis stands where the broker was: nothing of it is touched, and that is said."""

from __future__ import annotations

import time

from redis import Redis
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, numbers
from tests.end_to_end.edges_places.conftest import Call, MakeBroker
from tests.end_to_end.edges_places.tools import OwnBroker, server_binary
from tests.end_to_end.failures.conftest import Tell
from tests.end_to_end.failures.tools import assert_each_done_once
from tests.end_to_end.failures.work import brief

import batchpilot as bp


JOBS = 2500
OTHERS = {"theirs": "1", "rq:queue:theirs": "2", "bp:0123456789ab:term": "99"}


def under_way(make_study: MakeStudy, until: Until) -> bp.Registry:
    registry = make_study()
    registry.batch_map(brief, i=range(1, JOBS + 1), more_args={"seconds": 0.005})
    registry.submit_jobs()
    until(lambda: registry.get_status().done > 100)
    return registry


def with_others_data(broker: OwnBroker) -> None:
    for key, value in OTHERS.items():
        broker.client.set(key, value)


def test_one_with_the_same_password_is_filled_and_what_others_keep_there_stays(
    make_study: MakeStudy, make_broker: MakeBroker, port: int, until: Until, tell: Tell
) -> None:
    address = f"redis://127.0.0.1:{port}/0"
    broker = make_broker(port=port, address=address)
    registry = under_way(make_study, until)
    broker.stop()
    foreign = make_broker(port=port, address=address, home=broker.home.with_name("foreign"))
    with_others_data(foreign)
    moment = time.monotonic()

    assert registry.wait_for_jobs(timeout=60, progress=False)
    tell(f"{JOBS} jobs done {time.monotonic() - moment:.1f} s after an empty server came")
    assert_each_done_once(registry, JOBS)
    assert max(numbers(registry, "charged")) == 0
    assert {key: foreign.client.get(key).decode() for key in OTHERS} == OTHERS  # type: ignore[union-attr]  # redis-py's answer


def test_one_that_does_not_know_the_password_is_told_of_and_the_right_one_is_awaited(
    make_study: MakeStudy, make_broker: MakeBroker, port: int, until: Until, call: Call
) -> None:
    broker = make_broker("appendonly yes", port=port, address=f"redis://127.0.0.1:{port}/0")
    registry = under_way(make_study, until)
    broker.stop()
    place = broker.home.with_name("foreign")
    foreign = OwnBroker(server_binary(), place, "requirepass other", port=port)
    foreign.client = Redis(unix_socket_path=str(foreign.socket), password="other")  # noqa: S106 - of a server that lives for a test
    foreign.start()
    with_others_data(foreign)
    log = registry.paths.logs / "coordinator.log"
    until(lambda: "does not answer" in log.read_text() or "refused" in log.read_text())
    code, said = call("doctor", registry.file_dir)
    keys = sorted(key.decode() for key in foreign.client.scan_iter("*"))
    foreign.stop()
    broker.start()

    assert code == 1
    assert "refused the password" in said
    assert keys == sorted(OTHERS)
    assert registry.wait_for_jobs(timeout=60, progress=False)
    assert_each_done_once(registry, JOBS)
