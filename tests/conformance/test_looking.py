"""Every launcher tells the states of many by one query, and bears not to be answered."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.conftest import Until

from batchpilot_agent.errors import LaunchPostponed
from batchpilot_agent.launchers.nouns import ElementState
from batchpilot_agent.launchers.waning import SecondLook

from .conftest import Bed, FakeBed


def test_states_of_many_take_one_command(bed: Bed) -> None:
    bed.open()
    ended = bed.submit(bed.request(agents=2))
    bed.wait_for(ended, "ended", "ended")
    bed.gate.unlink()
    others = bed.submit(bed.request(agents=2, throttle=1))
    bed.wait_for(others, "running", "queued")
    look = SecondLook(bed.launcher)
    asked = [*ended.elements, *others.elements, bed.unknown]
    look.states(asked)
    bed.recorder.calls.clear()

    states = look.states(asked)

    assert len(bed.recorder.calls) == 1
    assert [*states] == asked
    assert [s.state for s in states.values()] == ["ended", "ended", "running", "queued", "ended"]


def test_what_is_not_known_is_unknown_at_first_and_ended_at_the_second_look(bed: Bed) -> None:
    submitted = bed.submit(bed.request())
    bed.wait_for(submitted, "running")
    look = SecondLook(bed.launcher)
    asked = [bed.unknown, *submitted.elements]

    first, second = look.states(asked), look.states(asked)

    assert [s.state for s in first.values()] == ["unknown", "running"]
    assert [s.state for s in second.values()] == ["ended", "running"]
    assert [s.known for s in second.values()] == [False, True]


def test_only_what_is_not_known_is_no_error(bed: Bed) -> None:
    (status,) = bed.launcher.states([bed.unknown]).values()

    assert (status.state, status.known) == (ElementState.UNKNOWN, False)


def test_nothing_is_asked_about_nothing(bed: Bed) -> None:
    assert bed.launcher.states([]) == {}
    bed.launcher.cancel([])
    assert bed.recorder.calls == []


def test_an_exit_code_is_a_failure_and_another_element_goes_on(bed: Bed) -> None:
    submitted = bed.submit(bed.request(agents=2, codes="3,0"))
    bed.wait_for(submitted, "ended", "running")

    failed, other = bed.statuses(submitted)

    assert failed.failed is bed.tells_failure
    assert not other.failed


def test_a_daemon_that_is_down_stops_no_agent_and_is_told(bed: Bed) -> None:
    submitted = bed.submit(bed.request())
    bed.wait_for(submitted, "running")
    recorder = bed.recorder
    patient, asked = recorder.runner, [*submitted.elements]
    recorder.runner = replace(patient, patience=bed.patience)

    bed.down()
    try:
        with pytest.raises(LaunchPostponed, match=r"onnect|still trying"):
            bed.launcher.states(asked)
        with pytest.raises(LaunchPostponed, match=r"onnect|still trying"):
            bed.submit(bed.request())
        with pytest.raises(LaunchPostponed, match=r"onnect|still trying"):
            bed.launcher.cancel(submitted.ids)
    finally:
        bed.up()
        recorder.runner = patient

    bed.wait_for(submitted, "running")


def test_what_the_batch_system_forgets_has_ended(fake: FakeBed, until: Until) -> None:
    submitted = fake.submit(fake.request(agents=2))
    fake.wait_for(submitted, "running", "running")
    fake.change(forget=0.0)
    fake.open()
    look = SecondLook(fake.launcher)

    until(lambda: {s.state for s in look.states(submitted.elements).values()} == {"ended"})

    assert not any(s.known for s in look.states(submitted.elements).values())


def test_agents_wait_until_there_is_room(fake: FakeBed) -> None:
    fake.change(slots=1)

    submitted = fake.submit(fake.request(agents=2))

    fake.wait_for(submitted, "running", "queued")
