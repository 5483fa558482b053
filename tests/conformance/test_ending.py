"""Every launcher ends some or all agents, and takes no offence at those that are gone."""

from __future__ import annotations

from .conftest import Bed


def test_one_agent_can_be_cancelled(bed: Bed) -> None:
    request = bed.request(agents=3)
    submitted = bed.submit(request)
    bed.wait_for(submitted, "running", "running", "running")
    for element in (1, 2, 3):
        assert bed.said(request, element)  # it listens by now

    bed.launcher.cancel(submitted.ids, [submitted.elements[1]])

    bed.wait_for(submitted, "running", "ended", "running")
    assert not bed.statuses(submitted)[1].failed


def test_all_agents_can_be_cancelled_by_one_command_running_or_not(bed: Bed) -> None:
    first = bed.submit(bed.request(agents=3, throttle=1))
    second = bed.submit(bed.request())
    bed.wait_for(first, "running", "queued", "queued")
    bed.wait_for(second, "running")
    bed.recorder.calls.clear()

    bed.launcher.cancel([*first.ids, *second.ids])

    assert len(bed.recorder.calls) == 1
    bed.wait_for(first, "ended", "ended", "ended")
    bed.wait_for(second, "ended")


def test_a_queued_agent_can_be_cancelled(bed: Bed) -> None:
    submitted = bed.submit(bed.request(agents=2, throttle=1))
    bed.wait_for(submitted, "running", "queued")

    bed.launcher.cancel(submitted.ids, submitted.elements[1:])

    bed.wait_for(submitted, "running", "ended")
    assert not bed.statuses(submitted)[1].failed


def test_who_has_ended_or_never_was_can_be_cancelled(bed: Bed) -> None:
    bed.open()
    submitted = bed.submit(bed.request(agents=2))
    bed.wait_for(submitted, "ended", "ended")

    bed.launcher.cancel(submitted.ids)
    bed.launcher.cancel(submitted.ids, submitted.elements)
    bed.launcher.cancel([], [bed.unknown])

    assert bed.states(submitted).count("running") == 0
