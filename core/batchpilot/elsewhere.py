"""A registry that another host owns: ask its owner for changes, or take over from a dead one.

| what is seen | what is done |
|---|---|
| the broker shows a coordinator | it is asked, and answers when that is done |
| owner.json moves, the broker is not seen | nothing can be done here: that is said |
| neither, for 30 s (network file systems: 75 s) | this host takes over |
"""

from __future__ import annotations

import getpass
import os
import secrets
import time
from collections.abc import Mapping
from typing import Any

import msgpack

from batchpilot_agent.objects import ObjectStore
from batchpilot_broker.clientside import Nudger
from batchpilot_broker.host import host_name
from batchpilot_broker.paths import RegistryPaths

from .asking import pack, returned
from .errors import BrokerError, BrokerUnavailable
from .notices import warn
from .store.owner import read_owner
from .store.snapshots import Snapshot
from .store.takeover import Stillness, take_over


ASK_EVERY = 2.0
"""Seconds between two words to the owner that somebody looks."""

LOOK_PAUSE = 0.5
YOUNG_COPY = 10.0
"""Seconds for which a copy is good enough where a newer one has to be waited for."""

COPY_WITHIN = 12.0
"""Seconds to wait for it: the owner looks every 5 s whether somebody has asked by the file."""


class Elsewhere:
    """Deal with the owner of a registry, another host.

    Args:
        paths: The registry's files.
        snapshot: What is read of it here.
    """

    def __init__(self, paths: RegistryPaths, snapshot: Snapshot) -> None:
        self._paths = paths
        self._snapshot = snapshot
        self._objects = ObjectStore(paths.objects)
        self._line = Nudger(paths, read_owner(paths).instance)
        self._still = Stillness(paths)
        self._asked = 0.0
        snapshot.ask = self._say_that_somebody_looks

    @property
    def host(self) -> str:
        """Return who owns the registry now."""
        return read_owner(self._paths).host

    def close(self) -> None:
        """Let go of the broker."""
        self._line.close()

    def refresh(self) -> None:
        """Have a snapshot of now written, where there is somebody to do it."""
        if self._coordinator_shown():
            self._line.ask(secrets.token_hex(16), verb="look", host=host_name(), user=_user())
            self._snapshot.renew()
        elif read_owner(self._paths).beats_elsewhere(time.time()):
            self._await_copy()

    def _await_copy(self) -> None:
        """Ask for a copy by a file, and wait for it, if the one that is there is old."""
        self._touch()
        if self._paths.looked.stat().st_mtime - self._snapshot.written < YOUNG_COPY:
            return
        before, deadline = self._snapshot.written, time.monotonic() + COPY_WITHIN
        while self._snapshot.written == before and time.monotonic() < deadline:
            time.sleep(LOOK_PAUSE)
            self._snapshot.renew()

    def _touch(self) -> None:
        self._paths.looked.touch(0o600)
        os.utime(self._paths.looked)

    def ask(
        self, request: str, verb: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[bool, Any]:
        """Have the coordinator call a method of the registry.

        Args:
            request: Name of the request.
            verb: Name of the method.
            args: Its arguments.
            kwargs: Its arguments by name.

        Returns:
            Whether it did, and what the method returned; not, where the owner was gone meanwhile.

        Raises:
            BatchpilotError: What the method raised.
            BrokerUnavailable: No answer came; whether it was done is not known.
        """
        fields = pack([list(args), dict(kwargs)], self._objects)
        fields |= {"verb": verb, "host": host_name(), "user": _user()}
        answer = self._line.ask(request, gone=self._gone, **fields)
        answer = self._kept_answer(request) if answer is None else answer
        if answer is None:
            return False, None
        self._snapshot.expect(request)
        return True, returned(answer, self._objects)

    def lives(self) -> bool:
        """Tell whether the owner may be at work, without waiting to know it."""
        return self._coordinator_shown() or not self._still.enough

    def await_word(self) -> bool:
        """Wait until the owner can be asked, or is known to be gone.

        Returns:
            Whether it can be asked.

        Raises:
            BrokerUnavailable: The owner lives, but its broker cannot be reached from here.
        """
        told = False
        silent = self._still.seconds()
        while not self._coordinator_shown():
            now = self._still.seconds()
            if now >= self._still.limit:
                return False
            if now < silent and read_owner(self._paths).pid:
                raise self._unreachable()
            if not told:
                told = True
                warn(
                    f"no coordinator on {self.host}, which owns {self._paths.root}, is heard of; "
                    f"this host takes over where nothing moves for {self._still.limit:.0f} s"
                )
            silent = now
            time.sleep(LOOK_PAUSE)
        return True

    def take_over(self) -> None:
        """Make this host the owner.

        Raises:
            AlreadyOwned: Another host was faster.
        """
        before = self.host
        take_over(self._paths, self._still.mark)
        self.close()
        warn(f"{host_name()} has taken {self._paths.root} over from {before}")

    def _coordinator_shown(self) -> bool:
        try:
            return self._line.coordinator_alive()
        except BrokerError:
            return False

    def _say_that_somebody_looks(self) -> None:
        """Tell the owner so by the broker, or where that is not seen from here by a file."""
        now = time.monotonic()
        if now - self._asked < ASK_EVERY:
            return
        self._asked = now
        try:
            self._line.send("look")
        except BrokerError:
            self._touch()

    def _kept_answer(self, request: str) -> dict[str, Any] | None:
        """Return the answer that was lost on its way and stands in the registry."""
        self._snapshot.renew()
        kept = self._snapshot.answer_to(request)
        if kept is None and self._coordinator_shown():
            raise BrokerUnavailable(
                f"{self.host}, which owns {self._paths.root}, has not answered",
                remedy="look with get_status() whether it was done, else do it again",
            )
        return None if kept is None else dict(msgpack.unpackb(kept))

    def _gone(self) -> bool:
        """Tell whether there is nobody who will answer."""
        return self._still.enough and not self._coordinator_shown()

    def _unreachable(self) -> BrokerUnavailable:
        return BrokerUnavailable(
            f"{self.host} owns {self._paths.root} and lives, but its broker is not seen from here",
            remedy=f"work on {self.host}, or give the registry a broker that all hosts see "
            "(BATCHPILOT_BROKER_URL)",
        )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        return str(os.getuid())
