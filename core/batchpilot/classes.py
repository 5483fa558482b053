"""Resource classes by name: which class resources make, and what twice as much of one asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import msgpack

from batchpilot_broker.nouns import ResourceClass

from .errors import SubmissionError


def class_id(resources: ResourceClass) -> str:
    """Return the name of a class: 12 hex digits of the hash of its map."""
    return blake2b(pack(resources.to_wire()), digest_size=6).hexdigest()


def pack(record: Mapping[str, Any]) -> bytes:
    """Return a map as msgpack, its names sorted.

    Raises:
        SubmissionError: A value that no job script could show.
    """
    try:
        packed: bytes = msgpack.packb(dict(sorted(record.items())))
    except (TypeError, ValueError, OverflowError) as error:
        raise SubmissionError(
            f"resources must be numbers, strings, lists or maps: {error}",
            remedy="convert the value",
        ) from error
    return packed


def grown(needed: ResourceClass, name: str, times: int = 1) -> ResourceClass:
    """Return a class with a limit, its memory or its walltime, doubled once or more often."""
    factor = 2**times
    if name == "memory":
        return replace(needed, memory=needed.memory * factor)
    return replace(needed, walltime=needed.walltime * factor)
