"""Jobs and agents that end before they are done: cancelled, over a limit, drained, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgpack
import psutil
from tests.conftest import wait_until

from batchpilot_broker.frames import ENDED, Kind
from batchpilot_broker.nouns import Isolation, Outcome, Reason, ResourceClass

from .conftest import Bench
from .marks import Marks


def alive(pid: int) -> bool:
    try:
        return b") Z" not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False


def pilot_of(bench: Bench, agent: str = "a1") -> int:
    return bench.broker.agents()[agent].pid


def test_cancel_ends_one_running_job_and_nothing_else(bench: Bench, marks: Marks) -> None:
    def work(name: str) -> str:
        child = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
        marks.set(name, child.pid)
        marks.wait(f"end {name}")
        return name

    epoch = bench.epoch(work)
    bench.feed(epoch, [("a",), ("b",), ("c",)])
    bench.feed(epoch, [("d",)])
    bench.agent(slots=2)
    wait_until(lambda: marks.has("a") and marks.has("d"))
    bench.broker.control("a1", "cancel", ranges=[[100, 101]], attempt=1)
    wait_until(lambda: marks.has("c"))
    for name in "cd":
        marks.set(f"end {name}")
    rows = bench.await_rows(102, 200)
    wait_until(lambda: len(bench.notes(Kind.CHUNK_ENDED)) == 2)

    assert rows.keys() == {102, 200}
    assert not marks.has("b")
    wait_until(lambda: not alive(int(marks.get("a"))))


def test_a_cancel_of_an_older_attempt_only_spares_this_one(bench: Bench, marks: Marks) -> None:
    epoch = bench.epoch(marks.waiting())
    bench.feed(epoch, [("a",)], attempt=3)
    bench.feed(epoch, [("b",)], attempt=3)
    bench.agent(slots=2)
    wait_until(lambda: marks.has("a") and marks.has("b"))
    bench.broker.control("a1", "cancel", ranges=[[100, 100]], attempt=2)
    bench.broker.control("a1", "cancel", ranges=[[200, 200]], attempt=3)
    wait_until(lambda: len(bench.notes(Kind.CHUNK_ENDED)) == 1)
    marks.set("end a")

    assert bench.await_rows(100)[100].outcome is Outcome.DONE
    assert bench.rows().keys() == {100}


def test_a_job_that_ignores_sigterm_is_killed(bench: Bench, marks: Marks) -> None:
    def deaf(name: str) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        marks.set(name)
        while True:
            time.sleep(1)

    bench.feed(bench.epoch(deaf), [("a",)])
    bench.agent()
    wait_until(lambda: marks.has("a"))
    bench.broker.control("a1", "cancel", ranges=[[100, 100]], attempt=1)
    wait_until(lambda: len(bench.notes(Kind.CHUNK_ENDED)) == 1)

    assert bench.rows() == {}


def test_an_overrun_hands_back_the_mates_and_runs_on(bench: Bench, marks: Marks) -> None:
    bench.feed(bench.epoch(marks.waiting()), [("a",), ("b",), ("c",)], budget=0.2)
    bench.agent()
    wait_until(bench.handed_back)
    marks.set("end a")
    rows = bench.await_rows(100)

    assert bench.handed_back() == [(1, [[101, 102]], "overrun", False)]
    assert rows.keys() == {100}
    wait_until(lambda: [ENDED.unpack(p)[2] for p in bench.notes(Kind.CHUNK_ENDED)] == [1])
    assert not marks.has("b")


def test_a_job_over_its_walltime_expires_alone(bench: Bench) -> None:
    def work(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    resources = ResourceClass(walltime=3.0)
    bench.feed(bench.epoch(work), [(0.0,), (600.0,), (0.0,)], resources=resources)
    bench.agent()
    rows = bench.await_rows(100, 101, 102)

    assert [rows[j].outcome for j in (100, 102)] == [Outcome.DONE] * 2
    assert (rows[101].outcome, rows[101].reason) == (Outcome.EXPIRED, Reason.WALLTIME)
    assert msgpack.unpackb(bench.body(rows[101])) == "walltime of 3 s exceeded"
    lasted = rows[101].ended - rows[101].started
    assert 3.0 - 0.01 <= lasted < 60  # by the system's clock, which may be slewed


def test_a_job_over_its_memory_expires_with_its_children(bench: Bench, marks: Marks) -> None:
    eat = "import time; x = bytearray(300 << 20); time.sleep(600)"

    def work(size: int) -> int:
        if size:
            child = subprocess.Popen([sys.executable, "-c", eat], start_new_session=True)
            marks.set("child", child.pid)
            child.wait()
        return size

    resources = ResourceClass(memory=200.0)
    bench.feed(bench.epoch(work), [(1,), (0,)], resources=resources)
    bench.agent()
    rows = bench.await_rows(100, 101)

    assert (rows[100].outcome, rows[100].reason) == (Outcome.EXPIRED, Reason.MEMORY)
    assert msgpack.unpackb(bench.body(rows[100])).startswith("memory of 200 MB exceeded")
    assert rows[100].memory > 200
    assert rows[101].outcome is Outcome.DONE
    wait_until(lambda: not alive(int(marks.get("child"))))


def test_sigterm_hands_back_what_has_not_begun_and_lets_the_rest_end(
    bench: Bench, marks: Marks
) -> None:
    bench.feed(bench.epoch(marks.waiting()), [("a",), ("b",)])
    agent = bench.agent()
    wait_until(lambda: marks.has("a"))
    agent.terminate()
    wait_until(bench.handed_back)
    marks.set("end a")

    assert agent.wait(60) == 0
    assert bench.rows().keys() == {100}
    assert bench.handed_back() == [(1, [[101, 101]], "unstarted", False)]
    assert {"kind": "bye", "agent": "a1", "reason": "drain"} in bench.events
    assert not bench.broker.agents()
    assert not bench.broker.leases()


def test_after_the_grace_running_jobs_are_handed_back(bench: Bench, marks: Marks) -> None:
    bench.feed(bench.epoch(marks.sleeping()), [("a",)])
    agent = bench.agent(grace=0.1)
    wait_until(lambda: marks.has("a"))
    agent.terminate()

    assert agent.wait(60) == 0
    assert bench.rows() == {}
    assert bench.handed_back() == [(1, [[100, 100]], "drain", False)]


def test_stop_gives_no_grace(bench: Bench, marks: Marks) -> None:
    bench.feed(bench.epoch(marks.sleeping()), [("a",)])
    agent = bench.agent(grace=600)
    wait_until(lambda: marks.has("a"))
    bench.broker.control("a1", "stop")

    assert agent.wait(60) == 0
    assert bench.handed_back() == [(1, [[100, 100]], "stop", False)]


def test_a_job_may_hand_itself_back_when_told_to_go(bench: Bench, marks: Marks) -> None:
    def work(name: str) -> None:
        from batchpilot_agent.job import HandBack  # noqa: PLC0415 - the job's own import

        def checkpoint(*_: object) -> None:
            marks.set("checkpoint")
            raise HandBack

        signal.signal(signal.SIGTERM, checkpoint)
        marks.set(name)
        time.sleep(600)

    bench.feed(bench.epoch(work), [("a",)])
    agent = bench.agent(grace=600)
    wait_until(lambda: marks.has("a"))
    agent.terminate()

    assert agent.wait(60) == 0
    assert marks.has("checkpoint")
    assert bench.handed_back() == [(1, [[100, 100]], "handed back", False)]


def test_kill_of_the_pilot_leaves_nothing_running(bench: Bench, marks: Marks) -> None:
    def work(name: str) -> None:
        child = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
        bare = subprocess.Popen(["/usr/bin/setsid", "env", "-i", "sleep", "600"])
        marks.set(name, f"{os.getpid()} {os.getppid()} {child.pid} {bare.pid}")
        time.sleep(600)

    bench.feed(bench.epoch(work), [("a",)], isolation=Isolation.PROCESS)
    agent = bench.agent()
    wait_until(lambda: marks.has("a"))
    pids = list(map(int, marks.get("a").split()))
    os.kill(pilot_of(bench), signal.SIGKILL)

    assert agent.wait(60) == 128 + signal.SIGKILL
    assert not any(map(alive, pids))
    assert bench.rows() == {}


def test_when_the_keeper_is_killed_the_pilot_drains(bench: Bench, marks: Marks) -> None:
    def work(name: str) -> None:
        marks.set(name, os.environ["TMPDIR"])
        marks.wait(f"end {name}")

    bench.feed(bench.epoch(work), [("a",)])
    agent = bench.agent()
    wait_until(lambda: marks.has("a"))
    pilot, scratch = pilot_of(bench), Path(marks.get("a")).parent
    assert scratch.name.startswith("batchpilot-")
    assert scratch.is_dir()
    agent.kill()
    agent.wait()
    marks.set("end a")

    assert bench.await_rows(100)[100].outcome is Outcome.DONE
    wait_until(lambda: not alive(pilot))
    wait_until(lambda: not scratch.exists())


def test_kill_of_the_whole_process_group_leaves_no_program_of_a_job(
    bench: Bench, marks: Marks
) -> None:
    def work(program: str, job: Any) -> None:
        job.run(["sh", "-c", program])

    place = Path(marks.directory)
    program = f"trap '' TERM; echo $$ >{place}/~; mv {place}/~ {place}/begun; sleep 600"
    bench.feed(bench.epoch(work), [(program,)])
    agent = bench.agent()
    wait_until(lambda: marks.has("begun"))
    os.killpg(agent.pid, signal.SIGKILL)

    wait_until(lambda: not alive(int(marks.get("begun"))), 30.0)


def test_a_template_killed_by_a_job_loses_that_job_only(bench: Bench) -> None:
    def work(x: int) -> int:
        if x == 1:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(600)
        return x

    bench.feed(bench.epoch(work), [(0,), (1,), (2,)])
    bench.agent()
    rows = bench.await_rows(100, 101, 102)

    assert [rows[j].outcome for j in (100, 102)] == [Outcome.DONE] * 2
    assert (rows[101].outcome, rows[101].reason) == (Outcome.LOST, Reason.TEMPLATE)


def test_what_a_finished_slot_left_running_is_ended(bench: Bench, marks: Marks) -> None:
    def work(name: str) -> str:
        child = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
        marks.set(name, child.pid)
        return name

    bench.feed(bench.epoch(work), [("a",)], isolation=Isolation.PROCESS)
    bench.agent()
    bench.await_rows(100)

    wait_until(lambda: not alive(int(marks.get("a"))))


def test_a_template_that_dies_while_nothing_runs_is_replaced(bench: Bench) -> None:
    epoch = bench.epoch(lambda x: x)
    bench.feed(epoch, [(1,)])
    agent = bench.agent(slots=2)
    bench.await_rows(100)
    wait_until(lambda: bench.notes(Kind.CHUNK_ENDED))
    (template,) = (p for p in psutil.process_iter() if is_template_of(p, bench, "a1"))
    template.kill()
    wait_until(lambda: f"{epoch[:12]} ended: signal 9" in bench.words())

    bench.feed(epoch, [(2,)])

    assert bench.await_rows(100, 200)[200].outcome is Outcome.DONE
    assert agent.poll() is None
    assert "Traceback" not in bench.words()


def is_template_of(process: psutil.Process, bench: Bench, agent: str) -> bool:
    """Tell whether a process is a template, and not one of its slots, of an agent."""
    try:
        line, parent = process.cmdline(), process.parent()
        above = parent.cmdline() if parent else []
    except psutil.Error:
        return False
    mine = str(bench.paths.root) in line and agent in line
    return mine and "batchpilot_agent.slot.template" in line and line != above
