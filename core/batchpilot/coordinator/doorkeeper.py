"""Open the door: let other hosts reach the broker, once there is a pool of other hosts.

So it is where the coordinator runs in an allocation of a batch system, away from the sessions.

Until then a broker of ours listens on a socket only. It is started again with the data it has, on
addresses of private networks or those that were asked for; everybody finds the new addresses in
`broker.json`. A broker from outside is left as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from batchpilot.pools import RemotePool
from batchpilot_broker.access import Access, read_access
from batchpilot_broker.errors import BatchpilotError, BrokerUnavailable
from batchpilot_broker.network import tcp_places
from batchpilot_broker.paths import RegistryPaths
from batchpilot_broker.server import open_to_network

from .desk import Desk


LOOK_EVERY = 60.0
PAUSES = (5.0, 15.0, 60.0)
"""Seconds after which what failed is tried again."""

_log = logging.getLogger("batchpilot.coordinator")


class Doorkeeper:
    """Open the broker to other hosts.

    Args:
        desk: What the duties share.
        open_: Opens the broker of a registry.
    """

    def __init__(
        self, desk: Desk, open_: Callable[[RegistryPaths, str], Access] = open_to_network
    ) -> None:
        self._desk = desk
        self._open = open_
        self._again = 0.0
        self._failed = 0

    def tick(self, now: float) -> None:
        """Open the broker if it is needed and was not yet.

        Raises:
            BrokerUnavailable: It was: who is connected has to connect again.
        """
        if now < self._again or not self._is_needed():
            return
        self._again = now + LOOK_EVERY
        access = read_access(self._desk.paths)
        if access is None or access.external or tcp_places(access.urls):
            self._failed = 0
            return
        try:
            self._open(self._desk.paths, self._desk.instance)
        except BatchpilotError as error:
            self._again = now + PAUSES[min(self._failed, len(PAUSES) - 1)]
            self._failed += 1
            _log.error("other hosts cannot reach the broker: %s", error)
            return
        raise BrokerUnavailable("the broker was opened to other hosts", remedy="connect again")

    def _is_needed(self) -> bool:
        remote = any(isinstance(pool, RemotePool) for pool in self._desk.pools)
        return remote or self._desk.paths.seat.exists()
