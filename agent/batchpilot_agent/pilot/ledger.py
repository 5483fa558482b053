"""The pilot's own frames: chunks begun and ended, jobs handed back, the rows of dead slots.

The segments are made here, with their HEAD, before there is any slot. A frame that cannot be
written (disk full) waits, and all behind it, and is tried again every second: the broker is told
that a chunk is finished only when its last frame is in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgpack

from batchpilot_agent.segments import SegmentWriter, create_segment
from batchpilot_agent.settings import Settings
from batchpilot_broker.frames import ENDED, NO_PART, STARTED, Kind, pack_frame, pack_row
from batchpilot_broker.nouns import Outcome, Reason

from .work import Work, as_ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Hold the row of a job whose slot cannot write it any more, or never began it.

    Attributes:
        outcome: How it ended.
        reason: Why.
        body: What stands behind the row.
        slot: Number of its slot.
        started: Unix time of its start.
        ended: Unix time of its end.
        log: Position of the last part of its log, and bytes in all.
        memory: MB it has used at most, 0 where that was not measured.
    """

    outcome: Outcome
    reason: Reason
    body: bytes
    slot: int = 0
    started: float
    ended: float
    log: tuple[int, int] = (NO_PART, 0)
    memory: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Hold what the broker is to be told of a chunk."""

    chunk: int
    jobs: int
    seconds: float


REMEMBERED = 1000
"""Chunks that are known to have ended: a broker that is killed may forget its last 2 s."""


class WriteStalled(Exception):
    """Say that a frame cannot be written now."""


class Ledger:
    """Write the pilot's frames.

    Args:
        settings: Whose segments they are.
        wall: Unix time.

    Attributes:
        finished: Chunks whose end is written and that the broker still has to hear of.
    """

    def __init__(self, settings: Settings, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._results = _create(settings.paths.results(settings.agent), settings)
        self._logs = _create(settings.paths.job_logs(settings.agent), settings)
        self._waiting: deque[bytes | Finished] = deque()
        self.finished: deque[Finished] = deque()
        self._ended: deque[int] = deque(maxlen=REMEMBERED)

    @property
    def logs(self) -> SegmentWriter:
        """Return the writer of the log segment; its `append` raises `WriteStalled`."""
        return self._logs

    @property
    def settled(self) -> bool:
        """Tell whether all frames are written."""
        return not self._waiting

    def started(self, work: Work, slot: int) -> None:
        """Write once that a chunk has begun."""
        if not work.begun:
            work.begun = True
            payload = STARTED.pack(work.chunk.id, self._wall(), slot)
            self._put(pack_frame(Kind.CHUNK_STARTED, payload))

    def handed_back(self, work: Work, ids: Sequence[int], reason: str) -> None:
        """Write that jobs of a chunk are to be run elsewhere, uncharged."""
        if ids:
            payload = msgpack.packb([work.chunk.id, as_ranges(ids), reason, False])
            self._put(pack_frame(Kind.HANDED_BACK, payload))

    def lost(self, work: Work, job: int, loss: Loss) -> None:
        """Write the row of a job that its slot did not write."""
        fields = (
            job,
            work.chunk.attempt,
            loss.outcome,
            loss.reason,
            loss.slot,
            loss.log[1],
            loss.started,
            loss.ended,
            loss.log[0],
            loss.memory,
        )
        self._put(pack_row(fields, loss.body))

    def ended(self, work: Work) -> None:
        """Write that every job of a chunk is accounted for."""
        self._ended.append(work.chunk.id)
        self._put(
            pack_frame(Kind.CHUNK_ENDED, ENDED.pack(work.chunk.id, work.seconds, work.ran)),
            Finished(chunk=work.chunk.id, jobs=work.ran, seconds=work.seconds),
        )

    def has_ended(self, chunk: int) -> bool:
        """Tell whether a chunk has ended here of late."""
        return chunk in self._ended

    def repeat_end(self, chunk: int) -> None:
        """Let the broker hear once more that a chunk has ended, as soon as what was said before."""
        self._put(Finished(chunk=chunk, jobs=0, seconds=0.0))

    def tick(self, _now: float) -> None:
        """Try again what could not be written."""
        try:
            while self._waiting:
                first = self._waiting[0]
                if isinstance(first, Finished):
                    self.finished.append(first)
                else:
                    self._results.write(first)
                self._waiting.popleft()
        except WriteStalled:
            return

    def close(self) -> None:
        """Close the segments."""
        self._results.close()
        self._logs.close()

    def _put(self, *entries: bytes | Finished) -> None:
        stalled = bool(self._waiting)
        self._waiting.extend(entries)
        if not stalled:
            self.tick(0.0)


def _create(path: Path, settings: Settings) -> SegmentWriter:
    create_segment(path, settings.agent, settings.instance)
    return SegmentWriter(path, sleep=_stall)


def _stall(_seconds: float) -> NoReturn:
    raise WriteStalled
