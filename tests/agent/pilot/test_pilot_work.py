"""The bookkeeping of a chunk: nothing lost, nothing twice, whatever order it ends in."""

from __future__ import annotations

import itertools
import os
import random
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import wait_until

from batchpilot_agent.pilot.handles import status_text
from batchpilot_agent.pilot.line import Line
from batchpilot_agent.pilot.work import Work, as_ranges, cut
from batchpilot_agent.processes import marked, process_table, tree_of

from .memorybroker import chunk_of
from .stage import Stage


def test_cutting_a_chunk_keeps_each_jobs_parameters() -> None:
    work = Work(chunk=chunk_of(1, 6, ranges=((7, 9), (3, 4), (20, 20))), claimed=0.0)
    for first in range(6):
        for end in range(first + 1, 7):
            ranges, offsets, pars = cut(work, first, end)
            ids = [job for a, b in ranges for job in range(a, b + 1)]
            at = struct.unpack(f"<{end - first + 1}I", offsets)
            values = [pars[a:b] for a, b in itertools.pairwise(at)]

            assert ids == [7, 8, 9, 3, 4, 20][first:end]
            assert values == [b"p%03d" % n for n in range(first, end)]


def test_ranges_keep_the_order() -> None:
    assert as_ranges([]) == []
    assert as_ranges([5, 6, 7, 9, 8, 8]) == [(5, 7), (9, 9), (8, 8), (8, 8)]


@pytest.mark.parametrize("seed", range(30))
def test_every_job_is_run_cancelled_or_handed_back_exactly_once(seed: int) -> None:
    luck = random.Random(seed)  # noqa: S311 - dice, not keys
    work = Work(chunk=chunk_of(1, 50), claimed=0.0)
    ran: list[int] = []
    back: list[int] = []
    cancelled: set[int] = set()
    while not work.complete:
        first, end = work.stretch(luck.choice((1, 50)))
        work.out = True
        if luck.random() < 0.3:
            some = [(job, job) for job in luck.sample(range(100, 150), 5)]
            indices = work.indices(some)
            fresh = [i for i in indices if i >= end or i < work.next]
            work.skips.update(fresh)
            cancelled |= {work.ids[i] for i in fresh if i not in back}
        stop = luck.randint(first, end)
        if luck.random() < 0.1:
            back += work.take_back(stop)
        ran += work.ids[first:stop]
        work.next, work.out = stop, False

    done = sorted({*ran, *back} | cancelled)
    assert done == list(range(100, 150))
    assert len(ran) + len(back) == len({*ran, *back})
    assert not cancelled & set(ran)


def test_wait_statuses_in_words() -> None:
    assert status_text(9) == "signal 9 (SIGKILL)"
    assert status_text(11 | 128) == "signal 11 (SIGSEGV)"
    assert status_text(64) == "signal 64 (SIGRTMAX)"
    assert status_text(0) == "exit code 0"
    assert status_text(None) == "its template ended"


def sleeps(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") == [b"sleep", b"600", b""]


def test_a_process_tree_holds_children_that_left_the_session() -> None:
    code = "import subprocess, time; subprocess.Popen(['setsid', 'sleep', '600']); time.sleep(600)"
    marker = f"BATCHPILOT_SLOT=test:{os.getpid()}"
    name, _, value = marker.partition("=")
    root = subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=True, env={**os.environ, name: value}
    )
    wait_until(lambda: any(map(sleeps, tree_of(root.pid, process_table()))))
    tree = tree_of(root.pid, process_table())
    found = marked([marker])
    same = marked([f"HOME={os.environ['HOME']}"], [marker, "no=one"])
    others = marked([marker], ["no=one"]) | marked([marker, "no=one"])
    for pid in tree:
        os.kill(pid, 9)
    root.wait()

    assert len(tree) == 2
    assert found == same == tree
    assert others == set()


def test_a_line_never_waits_for_a_slot_that_does_not_read() -> None:
    ours, theirs = socket.socketpair()
    line = Line(ours)
    line.send(["run", bytes(1 << 22)])
    assert line.pending
    got = bytearray()
    theirs.setblocking(False)
    while line.pending:
        got += theirs.recv(1 << 20)
        line.flush()
    theirs.setblocking(True)
    while len(got) < 1 << 22:
        got += theirs.recv(1 << 20)
    theirs.close()

    assert line.receive() == []
    assert line.closed
    line.close()


def test_the_log_of_a_long_job_is_mirrored_in_parts(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.step()
    stage.feed(chunk_of(1))
    (slot,) = stage.busy
    spool = stage.settings.scratch / f"spool-{slot.number}-{slot.serial}"
    spool.write_bytes(b"first\n")
    slot.announce(0, stage.wall.now)
    for _ in range(12):
        stage.step(1.0)
    with spool.open("ab") as file:
        file.write(b"x" * (1 << 19) + b"last")
    for _ in range(12):
        stage.step(1.0)
    positions = [run[3] for report in stage.broker.reports for run in report.running]
    logs = stage.settings.paths.job_logs("a1").read_bytes()
    stage.close()

    assert len(set(positions)) == 3  # none, the first part, the newest
    assert b"first\n" in logs
    assert b"bytes skipped]" in logs
    assert logs.endswith(b"last")
