"""What a session does with the broker: nudge the coordinator, send it requests from elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .access import Access, no_broker, read_access, read_secret
from .codec import Seal
from .connect import broker_time, connect, translated
from .errors import BrokerUnavailable, WireError
from .events import put_event, put_request
from .keys import Keys
from .paths import RegistryPaths


if TYPE_CHECKING:
    from redis import Redis

LIFETIME = 60.0
"""Seconds for which a request may be carried out; later it is refused as old."""

ASK_AGAIN = 3.0
PAUSE = 0.2


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
    """Keep a connection for what one session sends; a broker that has moved is found again.

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

    def coordinator_alive(self) -> bool:
        """Tell whether a coordinator has shown itself to the broker within 10 s.

        Raises:
            BrokerUnavailable: There is no broker, or it does not answer.
        """
        access, client, _ = self._connected()
        with translated(access):
            return bool(client.exists(self._keys.alive))

    def ask(
        self, request: str, *, gone: Callable[[], bool] = lambda: False, **fields: Any
    ) -> dict[str, Any] | None:
        """Ask the coordinator to do something, and wait for its answer.

        It is asked again and again under the same name, so that no broker or coordinator that is
        lost meanwhile is in the way; it is carried out once.

        Args:
            request: Name of the request, used for no other one.
            gone: Tells that nobody will answer.
            fields: What is asked for.

        Returns:
            The answer, or None where none came before the request became too old to be carried
            out, or before there was nobody to answer it.

        Raises:
            BrokerUnavailable: There is no broker, or it does not answer; nothing was asked for.
        """
        access, client, _ = self._connected()
        with translated(access):
            until = broker_time(client) + LIFETIME
        message = {"kind": "request", "id": request, "until": until, **fields}
        deadline = time.monotonic() + LIFETIME
        while time.monotonic() < deadline and not gone():
            try:
                answer = self._asked_once(request, message)
            except BrokerUnavailable:
                self.close()
                time.sleep(PAUSE)
                continue
            if answer is not None:
                return answer
        return None

    def close(self) -> None:
        """Let go of the broker."""
        if self._open is not None:
            self._open[1].close()
        self._open = None

    def _asked_once(self, request: str, message: Mapping[str, Any]) -> dict[str, Any] | None:
        access, client, seal = self._connected()
        with translated(access):
            put_request(client, self._keys.events, seal.pack("request", dict(message)))
            popped: Any = client.blpop([self._keys.answer(request)], timeout=ASK_AGAIN)
        try:
            answer = seal.open("request", popped[1]) if popped else None
        except WireError:
            return None
        return dict(answer) if answer is not None and answer.get("id") == request else None

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
