"""When the broker is opened to other hosts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchpilot.coordinator.doorkeeper import LOOK_EVERY, PAUSES, Doorkeeper
from batchpilot.errors import BrokerUnavailable
from batchpilot.pools import SSH, Local
from batchpilot_broker.access import Access, write_access
from batchpilot_broker.paths import RegistryPaths

from .conftest import Bench


ON_A_SOCKET = Access(
    urls=("unix:///x",),
    password="p",  # noqa: S106 - of no broker
    generation=1,
    host="h",
    boot="b",
)


class Opener:
    """Open the broker, or fail, and count."""

    def __init__(self) -> None:
        self.calls = 0
        self.fails = False

    def __call__(self, paths: RegistryPaths, instance: str) -> Access:
        """Note that the broker is to be opened."""
        self.calls += 1
        if self.fails:
            raise BrokerUnavailable("no private address")
        opened = replace(ON_A_SOCKET, urls=(*ON_A_SOCKET.urls, "redis://10.0.0.1:1"))
        write_access(paths, opened)
        assert instance
        return opened


@pytest.fixture
def opener() -> Opener:
    return Opener()


@pytest.fixture
def keeper(bench: Bench, opener: Opener) -> Doorkeeper:
    write_access(bench.desk.paths, ON_A_SOCKET)
    return Doorkeeper(bench.desk, opener)


def test_pools_of_this_machine_leave_the_broker_on_its_socket(
    bench: Bench, keeper: Doorkeeper, opener: Opener
) -> None:
    bench.desk.pools = [Local(slots=1)]
    keeper.tick(1.0)

    assert opener.calls == 0


def test_the_first_pool_of_other_hosts_opens_it_once_and_has_everybody_connect_again(
    bench: Bench, keeper: Doorkeeper, opener: Opener
) -> None:
    bench.desk.pools = [Local(slots=1), SSH(["n1"])]

    with pytest.raises(BrokerUnavailable, match="opened"):
        keeper.tick(1.0)
    keeper.tick(2 * LOOK_EVERY)

    assert opener.calls == 1


def test_it_is_open_where_the_coordinator_has_a_seat_away_from_the_sessions(
    bench: Bench, keeper: Doorkeeper, opener: Opener
) -> None:
    bench.desk.pools = [Local(slots=1)]
    bench.desk.paths.seat.write_text("{}")

    with pytest.raises(BrokerUnavailable, match="opened"):
        keeper.tick(1.0)

    assert opener.calls == 1


def test_a_broker_from_outside_is_left_as_it_is(
    bench: Bench, keeper: Doorkeeper, opener: Opener
) -> None:
    write_access(bench.desk.paths, replace(ON_A_SOCKET, external=True))
    bench.desk.pools = [SSH(["n1"])]
    keeper.tick(1.0)

    assert opener.calls == 0


def test_what_cannot_be_opened_is_told_and_tried_again_after_growing_pauses(
    bench: Bench, keeper: Doorkeeper, opener: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    bench.desk.pools = [SSH(["n1"])]
    opener.fails = True
    now = 1.0
    keeper.tick(now)
    for calls, pause in enumerate((*PAUSES, PAUSES[-1]), 1):
        keeper.tick(now + pause - 0.1)
        assert opener.calls == calls
        now += pause
        keeper.tick(now)

    assert opener.calls == 5
    assert "other hosts cannot reach the broker: no private address" in caplog.text
