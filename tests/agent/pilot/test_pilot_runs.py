"""An agent runs what it is fed, in real processes on a real broker, and tells of it."""

from __future__ import annotations

import pickle
import time

from batchpilot_broker.frames import ENDED, STARTED, Kind
from batchpilot_broker.nouns import Outcome


def double(x):
    return 2 * x


def test_a_chunk_is_run_reported_and_finished(bench):
    chunk = bench.feed(bench.epoch(double), [(1,), (2,), (3,)])
    bench.agent()
    rows = bench.await_rows(100, 101, 102)

    assert [pickle.loads(bench.body(rows[job])) for job in (100, 101, 102)] == [2, 4, 6]
    assert {row.outcome for row in rows.values()} == {Outcome.DONE}
    assert [STARTED.unpack(p)[0] for p in bench.notes(Kind.CHUNK_STARTED)] == [chunk.id]
    assert [ENDED.unpack(p)[::2] for p in bench.notes(Kind.CHUNK_ENDED)] == [(chunk.id, 3)]


def test_latency(bench):
    epoch = bench.epoch(lambda x: time.time())
    bench.feed(epoch, [(1,)])
    bench.agent(slots=2)
    bench.await_rows(100)
    starts, ends = [], []
    for n in range(2, 60):
        t0 = time.time()
        bench.feed(epoch, [(1,)])
        t1 = time.time()
        rows = bench.await_rows(100 * n)
        ends.append(time.time() - rows[100 * n].ended)
        starts.append(rows[100 * n].started - t1)
        time.sleep(0.01)
    starts.sort(); ends.sort()
    print("bell->running ms", [round(1e3 * starts[int(len(starts) * q)], 2) for q in (0.1, 0.5, 0.9)])
    print("end->seen ms", [round(1e3 * ends[int(len(ends) * q)], 2) for q in (0.1, 0.5, 0.9)])
