"""Tombstones: what was revoked, written where `repair` finds it.

The coordinator in office writes them when it carries out the orders of table `cancel`. Where none
is in office, the session that revoked writes them into the last one's segment: nobody else does.
"""

from __future__ import annotations

import msgpack

from batchpilot_agent.segments import SegmentWriter, create_segment
from batchpilot_broker.frames import Kind, pack_frame

from .database import Database
from .owner import read_owner
from .pages import ranges_of, unpack_ranges


def coordinator_segment(term: int) -> str:
    """Return the name of the segment of a term's coordinator."""
    return f"coordinator-{term}.results"


def tombstone(blob: bytes, floor: int) -> bytes:
    """Return the frame that says that jobs are revoked up to an attempt."""
    ranges = ranges_of(unpack_ranges(blob)).tolist()
    return pack_frame(Kind.REVOKED, msgpack.packb([ranges, floor]))


def entomb(database: Database) -> None:
    """Write the tombstones that wait for a coordinator, where none is in office."""
    owner = read_owner(database.paths)
    if owner.coordinator_alive:
        return
    with database.read() as tx:
        orders = tx.all("all_cancels")
    if not orders:
        return
    name = coordinator_segment(owner.term)
    path = database.paths.segments / name
    if not path.exists():
        create_segment(path, name.removesuffix(".results"), owner.instance)
    writer = SegmentWriter(path)
    for _, blob, floor in orders:
        writer.append(tombstone(blob, floor))
    writer.close()
