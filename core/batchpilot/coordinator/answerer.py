"""Answer: do what sessions on other hosts ask for, each request once.

A request names a method of the registry that is marked `by_owner`. What it changes and its answer
are committed together, so that one that is asked again, because the answer was lost or a
coordinator died, gets the same answer and changes nothing. One that comes after its time is not
carried out any more: a sealed request that somebody kept cannot be played again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgpack

from batchpilot.asking import may_be_asked, pack, pack_error, unpack
from batchpilot.errors import BatchpilotError, BrokerError, OwnershipLost, StorageError, WireError
from batchpilot.store.database import Transaction

from .copier import Copier
from .desk import Desk
from .happenings import Rejected


if TYPE_CHECKING:
    from batchpilot.registry.whole import Registry

KEPT_SECONDS = 600.0
"""For how long an answer is kept; longer than a request may be carried out."""

LOOK = "look"


class Answerer:
    """Answer requests.

    Args:
        desk: What the duties share.
        copier: Writes the snapshot that those who ask read.
    """

    def __init__(self, desk: Desk, copier: Copier) -> None:
        self._desk = desk
        self._copier = copier
        self._registry: Registry | None = None
        self._refused: dict[str, dict[str, Any]] = {}

    def answer(self, event: dict[str, Any], now: float) -> None:
        """Carry out a request, if it was not yet and its time is not over, and answer it."""
        request = str(event["id"])
        self._copier.look(now)
        if event["verb"] == LOOK:
            self._copier.renew(now)
            self._desk.broker.answer(request, {})
            return
        known = self._refused.get(request) or self._kept(request)
        if known is None and float(event["until"]) < self._desk.broker.clock():
            self._desk.bus.tell(Rejected("old request"))
            return
        self._desk.broker.answer(request, known or self._carry_out(request, event))

    def _kept(self, request: str) -> dict[str, Any] | None:
        with self._desk.db.read() as tx:
            row = tx.execute("read_request", request).fetchone()
        return None if row is None else dict(msgpack.unpackb(row[0]))

    def _carry_out(self, request: str, event: dict[str, Any]) -> dict[str, Any]:
        jobs = self._jobs()
        try:
            with self._desk.db.write() as tx:
                answer = self._called(event)
                _keep(tx, request, answer)
        except (OwnershipLost, BrokerError):
            raise
        except BatchpilotError as error:
            return self._refuse(request, error)
        if self._jobs() != jobs:
            self._desk.db.try_to_back_up()
        return answer

    def _called(self, event: dict[str, Any]) -> dict[str, Any]:
        """Call the method, and return the message that carries what it returned."""
        verb = str(event["verb"])
        registry = self._here()
        if not may_be_asked(type(registry), verb):
            raise WireError(
                f"{event.get('host')} has asked for {verb!r}, which is not known here",
                remedy="use the same batchpilot on all hosts",
            )
        try:
            args, kwargs = unpack(event, registry.objects)
            returned = getattr(registry, verb)(*args, **kwargs)
        except (TypeError, ValueError, LookupError) as error:
            raise WireError(
                f"{verb!r} cannot be done as {event.get('host')} has asked for it: {error}",
                remedy="use the same batchpilot on all hosts",
            ) from error
        return pack(returned, registry.objects)

    def _refuse(self, request: str, error: BatchpilotError) -> dict[str, Any]:
        """Keep the refusal, too: what was refused is not done when it is asked again."""
        answer = pack_error(error)
        self._refused[request] = answer
        if not isinstance(error, StorageError):
            with self._desk.db.write() as tx:
                _keep(tx, request, answer)
            del self._refused[request]
        return answer

    def _jobs(self) -> int:
        with self._desk.db.read() as tx:
            return int(tx.meta("last_job"))

    def _here(self) -> Registry:
        if self._registry is None:
            from batchpilot.registry.whole import Registry  # noqa: PLC0415 - most are never asked

            self._registry = Registry(self._desk.paths, database=self._desk.db)
        return self._registry


def _keep(tx: Transaction, request: str, answer: dict[str, Any]) -> None:
    tx.execute("forget_requests", time.time() - KEPT_SECONDS)
    tx.execute("add_request", request, time.time(), msgpack.packb(answer))
