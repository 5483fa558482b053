"""A PBS that keeps a history: it tells how those ended that it does not show any more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .conftest import FakeBed, open_fake


@pytest.fixture
def pbs() -> Iterator[FakeBed]:
    with open_fake("PBS", "registry") as bed:
        bed.change(history=True)
        yield bed


def test_agents_that_fail_are_failures_also_when_their_whole_array_is_over(pbs: FakeBed) -> None:
    several = pbs.submit(pbs.request(agents=2, codes="3,4"))
    single = pbs.submit(pbs.request(codes="5"))
    pbs.wait_for(several, "ended", "ended")
    pbs.wait_for(single, "ended")
    pbs.recorder.calls.clear()

    statuses = pbs.launcher.states([*several.elements, *single.elements]).values()

    assert len(pbs.recorder.calls) == 2
    assert [status.failed for status in statuses] == [True] * 3


def test_what_was_cancelled_or_has_reached_its_walltime_is_no_failure(pbs: FakeBed) -> None:
    pbs.hasten()
    cancelled = pbs.submit(pbs.request(agents=2, throttle=1))
    single = pbs.submit(pbs.request())
    timely = pbs.submit(pbs.request(walltime=60.0))
    pbs.wait_for(cancelled, "running", "queued")
    pbs.wait_for(single, "running")

    pbs.launcher.cancel([*cancelled.ids, *single.ids])

    for submitted in (cancelled, single, timely):
        pbs.wait_for(submitted, *["ended"] * len(submitted.elements))
        assert not any(status.failed for status in pbs.statuses(submitted))


def test_an_agent_that_has_ended_can_be_cancelled_among_others(pbs: FakeBed) -> None:
    submitted = pbs.submit(pbs.request(agents=2, codes="3,0"))
    pbs.wait_for(submitted, "ended", "running")

    pbs.launcher.cancel(submitted.ids, submitted.elements)

    pbs.wait_for(submitted, "ended", "ended")
    assert [status.failed for status in pbs.statuses(submitted)] == [True, False]
