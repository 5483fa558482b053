"""Agents on hosts with a real sshd: started, looked at, ended; busy and silent hosts told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from pwd import getpwnam
from typing import Any

import pytest
from tests.conftest import Until

from batchpilot_agent.errors import LaunchPostponed
from batchpilot_agent.launchers.keeping import read_submitted
from batchpilot_agent.launchers.nouns import AllocationRequest, ElementState, Submitted
from batchpilot_agent.launchers.ssh import SSHLauncher

from .conftest import USER, Hosts


BOTH = ("host1", "host2")
AGENT = ("bash", "-c", 'echo "$0 $* on $SSH_TESTBED_HOST says $WORD"; exec sleep 600')
_numbers = count(1)


@pytest.fixture
def launcher(hosts: Hosts) -> SSHLauncher:
    return SSHLauncher(paths=hosts.paths, ssh=hosts.ssh)


@pytest.fixture
def started(launcher: SSHLauncher) -> Iterator[Callable[..., Submitted]]:
    ran: list[str] = []

    def start(**options: Any) -> Submitted:
        known = {"agents": 2, "command": AGENT, "hosts": BOTH, **options}
        request = AllocationRequest(id=f"a{next(_numbers)}", pool="ssh", **known)
        place = launcher.paths.allocation(request.id)
        place.mkdir()
        os.chown(place, getpwnam(USER).pw_uid, -1)
        submitted = launcher.submit(request)
        ran.extend(submitted.ids)
        return submitted

    yield start
    launcher.cancel(ran)


def states(launcher: SSHLauncher, submitted: Submitted) -> list[ElementState]:
    return [status.state for status in launcher.states(submitted.elements).values()]


def test_each_host_gets_one_agent_that_outlives_the_connection(
    launcher: SSHLauncher, started: Callable[..., Submitted]
) -> None:
    submitted = started()

    assert [element.split("|")[0] for element in submitted.elements] == ["host1", "host2"]
    assert states(launcher, submitted) == [ElementState.RUNNING] * 2
    assert submitted.shortfall == ""


def test_no_more_agents_are_started_than_asked_for(started: Callable[..., Submitted]) -> None:
    assert len(started(agents=1).elements) == 1


def test_an_agent_knows_its_number_environment_and_setup_and_writes_where_it_is_looked_for(
    launcher: SSHLauncher, started: Callable[..., Submitted], until: Until
) -> None:
    started(hosts=("host2",), agents=1, setup=("export WORD=none",), env={"WORD": "it's $HOME"})
    outputs = sorted(launcher.paths.allocations.glob("*/1.out"), key=lambda p: p.stat().st_mtime)

    until(lambda: "says it's $HOME\n" in outputs[-1].read_text())

    assert outputs[-1].read_text().startswith("--element 1 on ")


def test_an_agent_is_started_where_it_is_asked_to(started: Callable[..., Submitted]) -> None:
    (element,) = started(hosts=("host1",), agents=1, work_dir="/var/tmp").elements  # noqa: S108 - any directory that is there
    pid = element.rpartition("|")[2].partition(":")[0]

    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/var/tmp")  # noqa: S108 - as above


def test_a_cancelled_agent_ends_and_another_cancel_does_no_harm(
    launcher: SSHLauncher, started: Callable[..., Submitted], until: Until
) -> None:
    submitted = started()
    launcher.cancel(submitted.ids, submitted.elements[:1])

    until(lambda: states(launcher, submitted) == [ElementState.ENDED, ElementState.RUNNING])
    launcher.cancel(submitted.ids)
    until(lambda: states(launcher, submitted) == [ElementState.ENDED] * 2)
    launcher.cancel(submitted.ids)


def test_a_process_that_has_taken_the_number_of_an_agent_is_not_touched(
    launcher: SSHLauncher, started: Callable[..., Submitted]
) -> None:
    submitted = started()
    later = [f"{element}1" for element in submitted.elements]

    assert [s.state for s in launcher.states(later).values()] == [ElementState.ENDED] * 2
    launcher.cancel(later)
    assert states(launcher, submitted) == [ElementState.RUNNING] * 2


def test_a_busy_host_is_skipped_and_told(hosts: Hosts) -> None:
    busy = SSHLauncher(paths=hosts.paths, ssh=hosts.ssh)
    request = AllocationRequest(
        id="busy", pool="ssh", agents=2, command=AGENT, hosts=BOTH, max_load=1e-9
    )

    with pytest.raises(LaunchPostponed, match=r"host1 is busy: load .* cores; host2 is busy"):
        busy.submit(request)


def test_the_next_host_stands_in_for_one_that_is_not_there(
    started: Callable[..., Submitted],
) -> None:
    submitted = started(hosts=("nowhere.invalid", "host2"), agents=1)

    assert [element.split("|")[0] for element in submitted.elements] == ["host2"]
    assert "nowhere.invalid" in submitted.shortfall


def test_a_host_that_takes_no_agent_has_no_number(
    launcher: SSHLauncher, started: Callable[..., Submitted], until: Until
) -> None:
    submitted = started(hosts=("nowhere.invalid", *BOTH, "no.host"), agents=2)
    place = max(launcher.paths.allocations.iterdir(), key=lambda path: path.stat().st_mtime)

    assert [element.split("|")[0] for element in submitted.elements] == ["host2", "host1"]
    assert read_submitted(place) == submitted
    outputs = [place / f"{number}.out" for number in (1, 2)]
    until(lambda: all(path.exists() and "says" in path.read_text() for path in outputs))
    said = [path.read_text() for path in outputs]
    assert [words.startswith(f"--element {n} on ") for n, words in enumerate(said, 1)] == [True] * 2
    assert [":host2 says" in said[0], ":host1 says" in said[1]] == [True] * 2


def test_the_number_of_an_agent_for_whom_no_host_is_left_stays_without_a_name(
    started: Callable[..., Submitted],
) -> None:
    submitted = started(hosts=("nowhere.invalid", *BOTH), agents=3)

    assert [element.split("|")[0] for element in submitted.elements] == ["", "host1", "host2"]
    assert submitted.ids == submitted.elements[1:]


def test_nobody_knows_what_becomes_of_agents_on_a_silent_host(
    hosts: Hosts, launcher: SSHLauncher, started: Callable[..., Submitted]
) -> None:
    submitted = started()
    hosts.bed("stop", "host1")
    try:
        found = states(launcher, submitted)
        with pytest.raises(LaunchPostponed, match="host1"):
            launcher.cancel(submitted.ids, submitted.elements[:1])
    finally:
        hosts.bed("start", "host1")

    assert found == [ElementState.UNKNOWN, ElementState.RUNNING]
    assert states(launcher, submitted) == [ElementState.RUNNING] * 2


def test_a_host_behind_another_one_is_reached_as_the_users_configuration_says(
    hosts: Hosts, launcher: SSHLauncher, started: Callable[..., Submitted]
) -> None:
    submitted = started(hosts=("behind",), agents=1)
    hosts.bed("stop", "host1")
    try:
        found = states(launcher, submitted)
    finally:
        hosts.bed("start", "host1")

    assert found == [ElementState.UNKNOWN]
    assert states(launcher, submitted) == [ElementState.RUNNING]


def test_what_a_host_says_is_kept(launcher: SSHLauncher) -> None:
    request = AllocationRequest(id="kept", pool="ssh", agents=1, command=AGENT, hosts=("no.host",))
    with pytest.raises(LaunchPostponed, match=r"no\.host"):
        launcher.submit(request)

    assert "no.host" in (launcher.paths.allocation("kept") / "scheduler.log").read_text()
