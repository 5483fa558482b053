"""What the broker has counted of messages that were ignored: strangers, forgeries, lost jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .access import read_access
from .connect import check_version, connect, translated
from .errors import BrokerUnavailable
from .keys import Keys
from .paths import RegistryPaths


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """Hold what was ignored since the broker's data began.

    Attributes:
        server: The broker's name and version.
        foreign: Ids in our queues that are not ours.
        gone: Ids whose job was gone.
        forged: Messages whose seal did not match.
    """

    server: str
    foreign: int
    gone: int
    forged: int


def read_ignored(paths: RegistryPaths, instance: str) -> Ignored:
    """Ask the registry's broker for its version, whether it takes writes, and for what was ignored.

    Raises:
        BrokerFull: It answers, but its memory or its disk is full.
        BrokerUnavailable: There is no broker, or it does not answer.
        BrokerRefused: It refuses the password.
        BrokerTooOld: It is below the floor.
    """
    access = read_access(paths)
    if access is None:
        raise BrokerUnavailable(
            f"{paths.root} has no broker", remedy="start it with `batchpilot broker start`"
        )
    keys = Keys(instance)
    client = connect(access)
    try:
        with translated(access):
            server = check_version(client)
            client.incrby(keys.foreign, 0)
            counts: Any = client.mget(keys.foreign, keys.gone, keys.forged)
    finally:
        client.close()
    foreign, gone, forged = (int(count or 0) for count in counts)
    return Ignored(server=server, foreign=foreign, gone=gone, forged=forged)
