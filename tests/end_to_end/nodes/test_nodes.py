"""What agents do on their nodes: come, claim, share out devices, keep temporary files, and go."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from .conftest import CROWD, DEVICES, JOBS, SIGNALS, Seen


pytestmark = pytest.mark.timeout(240)  # the first test waits for all that is to be seen


def test_agents_started_at_once_all_claim_and_none_is_refused(seen: Seen) -> None:
    assert sorted(map(len, seen.at_work.values())) == [1] * CROWD + [2]
    assert seen.alive == CROWD + 1


def test_jobs_of_an_agent_have_devices_of_its_allocation_each_their_own(seen: Seen) -> None:
    on_gpu = [seen.results[job] for job in range(CROWD + 1, JOBS + 1)]

    assert sorted(result["devices"] for result in on_gpu) == sorted(DEVICES)
    assert {result["agent"] for result in on_gpu} == {"gpu-0"}


def test_temporary_files_of_jobs_go_to_a_private_directory_of_their_agent(seen: Seen) -> None:
    places = {result["agent"]: result["place"] for result in seen.results.values()}

    assert len(set(places.values())) == len(places)
    assert all(result["left in"] == result["place"] for result in seen.results.values())
    assert all(Path(place).parent.name.startswith("batchpilot-") for place in places.values())
    assert seen.modes == [0o700] * 2 * (CROWD + 1)


def test_temporary_files_are_gone_when_their_agent_has_left(seen: Seen) -> None:
    assert seen.left == []


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_makes_an_agent_leave_in_order(seen: Seen, number: signal.Signals) -> None:
    assert seen.codes[number] == 0
    assert f"told to go by {number.name}" in seen.said[number]
    assert "gone: drain\n" in seen.said[number]


def test_jobs_of_agents_that_were_told_to_go_run_elsewhere_and_are_not_charged(
    seen: Seen,
) -> None:
    again = sorted(job for job, result in seen.results.items() if result["attempt"] > 1)

    assert again == sorted(seen.interrupted)
    assert len(again) == len(SIGNALS)
    assert max(seen.charged) == 0
