"""Whether a broker still has its data: a number that changes whenever it has not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .keys import Keys


if TYPE_CHECKING:
    from redis import Redis

_AT_ONCE = 1000


def settle_generation(client: Redis, instance: str, highest: int, *, pulse: int = 0) -> int:
    """Return the generation of the broker's data, a new one where they are lost or too old.

    Data are too old also where they lack what a coordinator has put there: somebody has put back
    an older state, in which chunks are queued that have long been run.

    Args:
        client: The broker.
        instance: The registry's instance.
        highest: Highest generation known so far, 0 for none.
        pulse: Last pulse of the coordinator that is in office, 0 for none.
    """
    keys = Keys(instance)
    stored: Any = client.mget(keys.generation, keys.pulse)
    kept, counted = map(_number, stored)
    if kept and kept >= highest and counted >= pulse:
        return kept
    if kept:
        wipe(client, instance)
    settled = max(kept, highest) + 1
    client.set(keys.generation, settled)
    return settled


def _number(value: bytes | str | None) -> int:
    """Return a number; what somebody else has put there is older than all."""
    return int(value) if value is not None and value.isdigit() else 0


def wipe(client: Redis, instance: str) -> None:
    """Remove everything of an instance, and nothing else."""
    for pattern in (f"bp:{instance}:*", f"rq:*bp-{instance}-*"):
        found = list(client.scan_iter(match=pattern, count=_AT_ONCE))
        for start in range(0, len(found), _AT_ONCE):
            client.unlink(*found[start : start + _AT_ONCE])
    for register in ("rq:queues", "rq:workers"):
        ours = list(client.sscan_iter(register, match=f"*:bp-{instance}-*", count=_AT_ONCE))
        if ours:
            client.srem(register, *ours)
