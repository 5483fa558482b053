"""Releasing: what waits is let go or expired, and what that leaves for repair."""

from __future__ import annotations

from collections.abc import Sequence

import msgpack
import numpy as np
import pytest
from tests.core.book import CLASS, array

from batchpilot.coordinator.happenings import JobsEnded
from batchpilot.coordinator.measurer import Measurer
from batchpilot.coordinator.releaser import SHORTEST_PAUSE
from batchpilot.store.changing import revoke
from batchpilot.store.gates import hold
from batchpilot.store.owner import Office
from batchpilot.store.pages import State
from batchpilot.store.replay import read_stretch
from batchpilot_broker.frames import Kind
from batchpilot_broker.nouns import Outcome, Reason

from .conftest import Bench


def gated(bench: Bench, ids: Sequence[int], after: Sequence[int]) -> int:
    number = bench.book.queue(ids)
    with bench.book.database.write() as tx:
        hold(tx, number, array(after))
    return number


def look(bench: Bench) -> int:
    """Let the releaser look, whenever it looked last."""
    bench.clock += 3600.0
    return bench.releaser.tick(bench.clock)


def end(bench: Bench, job: int, outcome: Outcome = Outcome.DONE) -> None:
    bench.book.feed([job])
    bench.book.apply((job, bench.book.column("attempt")[job - 1], outcome))


def fed(bench: Bench) -> list[int]:
    """Feed what there is; return all jobs that were ever fed."""
    bench.feeder.tick(bench.clock)
    return [job for chunk in bench.broker.chunks.values() for job in chunk.ids()]


def test_what_waits_is_not_fed_and_wants_no_agents_but_is_unfinished(bench: Bench) -> None:
    bench.book.define(40)
    bench.book.queue([1])
    gated(bench, range(2, 41), [1])
    look(bench)
    office = Office(bench.desk.paths, bench.book.database)
    measurer = Measurer(bench.desk, office)

    assert sum(n for _, n in bench.desk.waiting()) == 1
    assert measurer.count_unfinished() == 40
    assert fed(bench) == [1]


def test_what_waited_is_fed_when_its_predecessors_are_done(bench: Bench) -> None:
    bench.book.define(4)
    bench.book.queue([1, 2])
    gated(bench, [4, 3], [1, 2])
    end(bench, 1)
    assert look(bench) == 1
    assert fed(bench) == [2]
    end(bench, 2)

    assert look(bench) == 1
    assert fed(bench) == [2, 4, 3]


def test_a_failure_runs_down_a_chain_in_one_look(bench: Bench) -> None:
    bench.book.define(30)
    bench.book.queue([1])
    for job in range(2, 31):
        gated(bench, [job], [job - 1])
    end(bench, 1, Outcome.ERROR)

    look(bench)

    assert bench.book.states() == [State.ERROR, *[State.EXPIRED] * 29]
    words = read_stretch(bench.desk.paths.segments / bench.desk.segment_name, 0)
    assert words.rows["job"].tolist() == list(range(2, 31))
    assert set(words.rows["reason"].tolist()) == {Reason.PREDECESSOR}
    assert set(words.rows["started"].tolist()) == {0.0}
    told = bench.told(JobsEnded)
    assert np.concatenate([h.rows["job"] for h in told]).tolist() == list(range(2, 31))


def test_what_expires_unfed_has_an_attempt_of_its_own_that_repair_finds(bench: Bench) -> None:
    bench.book.define(3)
    bench.book.queue([1])
    gated(bench, [2, 3], [1])
    end(bench, 1, Outcome.EXPIRED)

    look(bench)

    notes = read_stretch(bench.desk.paths.segments / bench.desk.segment_name, 0).notes
    marks = [msgpack.unpackb(payload) for kind, payload in notes if kind == Kind.FED]
    assert marks == [[0, [[2, 3]], 1]]
    assert bench.book.column("attempt") == [1, 1, 1]
    body = (bench.desk.paths.segments / bench.desk.segment_name).read_bytes()
    assert b"predecessor 1 failed" in body


@pytest.mark.parametrize("killed", [[1], [2]])
def test_what_is_killed_while_it_waits_is_not_expired(bench: Bench, killed: list[int]) -> None:
    bench.book.define(3)
    bench.book.queue([1])
    gated(bench, [2, 3], [1])
    with bench.book.database.write() as tx:
        revoke(tx, array([*killed, 3]))

    look(bench)

    states = bench.book.states()
    assert states[2] is State.DEFINED
    assert states[1] is (State.EXPIRED if killed == [1] else State.DEFINED)


def test_the_expired_can_be_submitted_again(bench: Bench) -> None:
    bench.book.define(2)
    bench.book.queue([1])
    gated(bench, [2], [1])
    end(bench, 1, Outcome.ERROR)
    look(bench)
    with bench.book.database.write() as tx:
        revoke(tx, array([2]))
    bench.book.queue([2])

    look(bench)

    assert fed(bench) == [2]
    assert bench.broker.chunks[bench.broker.queues[CLASS][0]].attempt == 2


def test_nobody_looks_while_nobody_writes_and_then_not_too_often(bench: Bench) -> None:
    bench.book.define(3)
    bench.book.queue([1, 2])
    gated(bench, [3], [1, 2])
    look(bench)
    seen = bench.releaser._seen

    look(bench)
    assert bench.releaser._seen == seen
    end(bench, 1)
    end(bench, 2)
    bench.releaser._next = bench.clock + SHORTEST_PAUSE
    assert bench.releaser.tick(bench.clock) == 0
    assert look(bench) == 1
