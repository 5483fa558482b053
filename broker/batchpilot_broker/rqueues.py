"""The one module that knows RQ: chunks as RQ jobs, so that RQ's own tools show our queues.

Only the coordinator imports it. RQ makes the job's hash and nothing more: its dequeue and its
registries judge nothing (a plain `rq info` would otherwise expire our leases).
`tests/broker/test_rq.py` lets the pinned RQ read all that our scripts write.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from redis import Redis
from rq.job import Job, JobStatus

from .codec import Seal
from .display import SHOWN_FOR
from .keys import Keys
from .nouns import Chunk
from .payload import FUNCTION, call_of


_NOWHERE = Redis()
"""RQ's Job wants a client; nothing here ever uses it, and a client connects only when used."""


class SealedSerializer:
    """Seal what RQ hands over and open it again, in place of RQ's pickle.

    Args:
        seal: The registry's seal.
    """

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    def dumps(self, obj: Any, /) -> bytes:
        """Return the sealed bytes of a call."""
        return self._seal.pack("chunk", obj)

    def loads(self, data: bytes, /) -> Any:
        """Return the call in sealed bytes.

        Raises:
            ForgedMessage: The seal does not match; nothing was decoded.
        """
        return self._seal.open("chunk", data)


def chunk_fields(keys: Keys, seal: Seal, chunk: Chunk) -> dict[str, str | bytes | int]:
    """Return the hash of the RQ job that carries a chunk."""
    job = Job.create(
        FUNCTION,
        args=call_of(chunk)[2],
        connection=_NOWHERE,
        id=keys.job(chunk.id),
        origin=keys.queue(chunk.class_id),
        description=f"batchpilot chunk {chunk.id}: {chunk.size} jobs",
        status=JobStatus.QUEUED,
        timeout=-1,
        result_ttl=SHOWN_FOR,
        serializer=SealedSerializer(seal),
    )
    job.enqueued_at = datetime.now(UTC)
    return {**job.to_dict(), "status": JobStatus.QUEUED.value}
