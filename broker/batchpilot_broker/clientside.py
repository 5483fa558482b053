"""What a session does with the broker: nudge the coordinator, send it requests from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .access import Access, no_broker, read_access, read_secret
from .codec import Seal
from .connect import connect, translated
from .errors import BrokerUnavailable
from .events import put_event
from .keys import Keys
from .paths import RegistryPaths


if TYPE_CHECKING:
    from redis import Redis


def nudge(paths: RegistryPaths, instance: str) -> None:
    """Tell the coordinator once that something changed in the registry.

    Raises:
        BrokerUnavailable: There is no broker to tell it by.
    """
    nudger = Nudger(paths, instance)
    try:
        nudger.nudge()
    finally:
        nudger.close()


class Nudger:
    """Keep a connection for the events of one session; a broker that has moved is found again.

    Args:
        paths: Files of the registry.
        instance: The registry's instance.
    """

    def __init__(self, paths: RegistryPaths, instance: str) -> None:
        self._paths = paths
        self._instance = instance
        self._keys = Keys(instance)
        self._mark: tuple[int, int] = (0, 0)
        self._open: tuple[Access, Redis, Seal] | None = None

    def nudge(self) -> None:
        """Tell the coordinator that something changed in the registry."""
        self.send("nudge")

    def send(self, kind: str, **fields: Any) -> None:
        """Put one event.

        Raises:
            BrokerUnavailable: There is no broker, or it does not answer.
        """
        message = {"kind": kind, **fields}
        reused = self._open is not None
        try:
            self._put(message)
        except BrokerUnavailable:
            self.close()
            if not reused:
                raise
            self._put(message)

    def close(self) -> None:
        """Let go of the broker."""
        if self._open is not None:
            self._open[1].close()
        self._open = None

    def _put(self, message: Mapping[str, Any]) -> None:
        access, client, seal = self._connected()
        with translated(access):
            put_event(client, self._keys.events, seal, message)

    def _connected(self) -> tuple[Access, Redis, Seal]:
        mark = self._record_mark()
        if self._open is None or mark != self._mark:
            self.close()
            access = read_access(self._paths)
            if access is None:
                raise no_broker(self._paths)
            self._open = access, connect(access), Seal(read_secret(self._paths), self._instance)
            self._mark = mark
        return self._open

    def _record_mark(self) -> tuple[int, int]:
        """Return what changes whenever the record of the broker is replaced."""
        try:
            stat = self._paths.broker.stat()
        except FileNotFoundError as error:
            self.close()
            raise no_broker(self._paths) from error
        return stat.st_mtime_ns, stat.st_ino
