"""The stream of events: how agents and sessions put them, how the coordinator opens them.

| kind | from | means |
|---|---|---|
| report | agent | a stretch of its result segment |
| hello, bye | agent | it is here; it leaves |
| nudge | session | something changed in the registry: look |
| look | session on another host | somebody reads the snapshot: keep it fresh |
| request | session on another host | do this for me |
| rejected | `opened` | an entry that is not what it should be; `why` says in which way |

Events are hints, segments are the truth. So the stream is bounded: while no coordinator lives, the
oldest events give way, and the next one finds the gap and reads the segments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .codec import Seal
from .errors import ForgedMessage, UnknownVersion, WireError
from .nouns import Report
from .shapes import NUMBER, Types, check, check_counts, check_name


if TYPE_CHECKING:
    from redis import Redis

KEPT = 20_000

Event = dict[str, Any] | Report

_FIELDS = ((b"d", "event"), (b"r", "request"))
"""Field of an entry, and the purpose that its content is sealed for."""


def put_event(client: Redis, stream: str, seal: Seal, message: Mapping[str, Any]) -> None:
    """Append one sealed event."""
    sealed = seal.pack("event", dict(message))
    client.xadd(stream, {"d": sealed}, maxlen=KEPT, approximate=True)


def put_request(client: Redis, stream: str, sealed: bytes) -> None:
    """Append one request, sealed as such."""
    client.xadd(stream, {"r": sealed}, maxlen=KEPT, approximate=True)


def opened(seal: Seal, entry: Mapping[bytes, bytes]) -> Event:
    """Return the event in an entry; what is none becomes `rejected`, and a reader goes on."""
    purpose, sealed = next(((p, entry[f]) for f, p in _FIELDS if f in entry), ("", None))
    if sealed is None:
        return _rejected("foreign")
    try:
        return _event(seal.open(purpose, sealed))
    except ForgedMessage:
        return _rejected("forged")
    except UnknownVersion:
        return _rejected("version")
    except (WireError, LookupError, TypeError, ValueError):
        return _rejected("malformed")


def _event(message: Any) -> Event:
    if message["kind"] == "report":
        return Report.from_wire(message)
    if message["kind"] in ("hello", "bye"):
        check_name(message["agent"])
    if message["kind"] == "hello":
        check_counts(message["held"])
    if message["kind"] == "request":
        check_name(message["id"])
        check({name: message[name] for name in _REQUEST}, _REQUEST)
    return dict(message)


_REQUEST: Types = {"verb": str, "until": NUMBER}


def _rejected(why: str) -> dict[str, Any]:
    return {"kind": "rejected", "why": why}
