"""When a slot stops, leaves, or dies, and who is told."""

# ruff: noqa: ARG001 - jobs take a parameter, needed or not

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from batchpilot_agent.job import HandBack
from batchpilot_agent.words import NO_LIMIT
from batchpilot_broker.frames import Kind
from batchpilot_broker.host import process_start


if TYPE_CHECKING:
    from tests.agent.execution.conftest import Agent


def leave_a_thread() -> None:
    import threading  # noqa: PLC0415 - as in a job

    threading.Thread(target=threading.Event().wait, daemon=True).start()


def leave_a_child() -> None:
    import subprocess  # noqa: PLC0415 - as in a job

    subprocess.Popen(["sleep", "600"])  # noqa: S607 - any sleep


def leave_a_fork() -> None:
    import os  # noqa: PLC0415 - as in a job
    import time  # noqa: PLC0415 - as in a job

    if os.fork() == 0:
        time.sleep(600)


def leave_a_limit() -> None:
    import resource  # noqa: PLC0415 - as in a job
    import time  # noqa: PLC0415 - as in a job

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    time.sleep(0.03)


def leave_memory() -> None:
    import sys  # noqa: PLC0415 - as in a job

    sys.kept = b"x" * (300 << 20)  # type: ignore[attr-defined]  # what is tested


def leave_an_affinity() -> None:
    import os  # noqa: PLC0415 - as in a job
    import time  # noqa: PLC0415 - as in a job

    os.nice(1)
    time.sleep(0.03)


@pytest.mark.parametrize(
    ("leave", "why"),
    [
        pytest.param(leave_a_thread, "threads", id="thread"),
        pytest.param(leave_a_child, "children", id="child"),
        pytest.param(leave_a_fork, "children", id="fork"),
        pytest.param(leave_a_limit, "limits", id="limit"),
        pytest.param(leave_an_affinity, "limits", id="nice"),
        pytest.param(leave_memory, "memory", id="memory"),
    ],
)
def test_a_dirty_slot_leaves_and_the_rest_is_not_run(
    agent: Agent, leave: Callable[[], None], why: str
) -> None:
    template = agent.template(lambda x: leave() if x else None)
    slot = template.fork()

    assert slot.run([(0,), (1,), (0,)]) == [2, f"leave:{why}"]
    assert slot.gone()
    assert template.ended() == (slot.pid, 0)
    assert [row.job for row in agent.rows()] == [1, 2]


def test_what_is_asked_seldom_is_asked_at_the_end_of_an_order(agent: Agent) -> None:
    def quick_limit(x: int) -> None:
        import resource  # noqa: PLC0415 - as in a job

        soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0 if soft else 1, hard))

    slot = agent.slot(lambda x: quick_limit(x) if x else None)

    assert slot.run([(0,), (1,)]) == [2, "leave:limits"]


@pytest.mark.parametrize(
    "tidy",
    [
        pytest.param("import os; os.system('true')", id="child waited for"),
        pytest.param(
            "import os; pid = os.posix_spawnp('true', ['true'], os.environ);"
            " os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)",
            id="child ended",
        ),
        pytest.param(
            "import threading; t = threading.Thread(target=int); t.start(); t.join()", id="thread"
        ),
        pytest.param("x = b'x' * (300 << 20)", id="memory given back"),
    ],
)
def test_what_is_over_leaves_nothing(agent: Agent, tidy: str) -> None:
    def run(x: int) -> None:
        import time  # noqa: PLC0415 - as in a job

        exec(tidy, {})  # noqa: S102 - what is tested
        time.sleep(0.05)

    slot = agent.slot(run)

    assert slot.run([(1,), (1,)]) == [2, "done"]


def test_what_a_slot_left_in_its_group_is_killed(agent: Agent) -> None:
    def run(x: int) -> int:
        import subprocess  # noqa: PLC0415 - as in a job

        return subprocess.Popen(["sleep", "600"]).pid  # noqa: S607 - any sleep

    template = agent.template(run)
    slot = template.fork()
    slot.run([(1,)])
    template.ended()

    child = agent.rows()[0].value

    agent.wait_until(lambda: not process_start(child))


def test_a_forked_child_that_returns_is_no_second_slot(agent: Agent) -> None:
    def run(x: int) -> int:
        import os  # noqa: PLC0415 - as in a job

        return os.waitpid(pid, 0)[1] if (pid := os.fork()) else 99

    slot = agent.slot(run)

    assert slot.run([(1,), (2,)]) == [2, "done"]
    assert [row.value for row in agent.rows()] == [0, 0]


def test_isolation_by_process_runs_one_job(agent: Agent) -> None:
    template = agent.template(lambda x: x)
    slot = template.fork()

    assert slot.run([(1,), (2,)], isolation="process") == [1, "leave:process"]
    assert slot.gone()
    assert template.ended() == (slot.pid, 0)
    assert [row.value for row in agent.rows()] == [1]


def test_no_job_starts_at_or_behind_the_limit(agent: Agent) -> None:
    slot = agent.slot(lambda x: x)
    slot.set_limit(2)

    assert slot.run([(i,) for i in range(5)]) == [2, "limit"]
    assert [row.value for row in agent.rows()] == [0, 1]

    slot.set_limit(NO_LIMIT)

    assert slot.run([(7,)]) == [1, "done"]


def test_a_running_job_is_announced(agent: Agent, tmp_path: Path) -> None:
    go = tmp_path / "go"

    def wait(x: int) -> None:
        import time  # noqa: PLC0415 - as in a job

        while not go.exists():
            time.sleep(0.03)

    slot = agent.slot(wait)
    slot.order([(0,), (0,)], ids=[30, 31])
    agent.wait_until(lambda: slot.words()[1] == 1)
    serial, position, begun, limit, job, trouble, *_ = slot.words()

    assert (serial, position, job, limit, trouble) == (1, 1, 30, NO_LIMIT, 0)
    assert begun > 1e9

    go.touch()

    assert slot.end() == [2, "done"]
    assert slot.words()[1] == 0


@pytest.mark.parametrize(
    ("die", "status"),
    [
        pytest.param("import os; os._exit(3)", 3 << 8, id="exit"),
        pytest.param("import os, signal; os.kill(os.getpid(), 9)", 9, id="kill"),
        pytest.param("import ctypes; ctypes.string_at(0)", 11, id="segv"),
        pytest.param("import os, signal; os.kill(os.getpid(), 15)", 15, id="term"),
    ],
)
def test_the_death_of_a_slot_is_told_and_costs_its_job_only(
    agent: Agent, die: str, status: int
) -> None:
    template = agent.template(lambda x: exec(x, {}))  # noqa: S102 - what is tested
    slot = template.fork()
    slot.order([("",), (die,), ("",)])

    assert slot.gone()

    pid, ended = template.ended()

    assert (pid, ended & 0xFF7F) == (slot.pid, status)
    assert [row.job for row in agent.rows()] == [1]
    assert slot.words()[1] == 2
    assert template.fork().run([("",)]) == [1, "done"]


def test_a_crash_tells_its_python_frames_to_the_spool(agent: Agent) -> None:
    def crash(x: int) -> None:
        import ctypes  # noqa: PLC0415 - as in a job

        ctypes.string_at(0)

    slot = agent.slot(crash)
    slot.order([(1,)])

    assert slot.gone()

    [spool] = agent.scratch.iterdir()

    assert b"Segmentation fault" in spool.read_bytes()
    assert b"in crash" in spool.read_bytes()


def test_a_job_may_hand_itself_back(agent: Agent) -> None:
    def run(x: int) -> None:
        if x:
            raise HandBack

    template = agent.template(run)
    slot = template.fork()

    assert slot.run([(0,), (1,), (0,)], ids=[4, 5, 6], chunk=9) == [2, "leave:handed back"]
    assert [row.job for row in agent.rows()] == [4]
    assert [msgpack.unpackb(note) for note in agent.notes(Kind.HANDED_BACK)] == [
        [9, [[5, 5]], "handed back", False]
    ]


def test_a_job_told_to_go_can_hand_itself_back(agent: Agent, tmp_path: Path) -> None:
    ready = tmp_path / "ready"

    def run(x: int) -> None:
        import signal  # noqa: PLC0415 - as in a job
        import time  # noqa: PLC0415 - as in a job

        def go(*_: Any) -> None:
            raise HandBack

        signal.signal(signal.SIGTERM, go)
        ready.touch()
        time.sleep(600)

    slot = agent.slot(run)
    slot.order([(1,)])
    agent.wait_until(ready.exists)
    os.kill(slot.pid, signal.SIGTERM)

    assert slot.end() == [1, "leave:handed back"]
    assert agent.rows() == []


def test_many_slots_write_whole_records_to_one_segment(agent: Agent) -> None:
    template = agent.template(lambda x: "y" * (x % 5000))
    slots = [template.fork(number) for number in range(4)]
    for number, slot in enumerate(slots):
        slot.order([(i,) for i in range(500)], ids=range(number * 500 + 1, number * 500 + 501))

    assert [slot.end() for slot in slots] == [[500, "done"]] * 4

    rows = agent.rows()

    assert sorted(row.job for row in rows) == list(range(1, 2001))
    assert all(len(row.value) == (row.job - 1) % 500 for row in rows)


def test_quit_ends_a_slot_and_a_template(agent: Agent) -> None:
    template = agent.template(lambda x: x)
    slot = template.fork()
    slot.talk.send(["quit"])

    assert slot.gone()
    assert template.ended() == (slot.pid, 0)

    template.control.send(msgpack.packb(["quit"]))

    assert template.process.wait(60) == 0


def test_slots_die_with_their_template(agent: Agent) -> None:
    def wait(x: int) -> None:
        import time  # noqa: PLC0415 - as in a job

        time.sleep(600)

    template = agent.template(wait)
    slot = template.fork()
    slot.order([(1,)])
    template.process.kill()

    assert slot.gone()


def test_peak_memory_is_measured_when_asked_for(agent: Agent) -> None:
    def use(x: int) -> int:
        return len(b"x" * (x << 20))

    slot = agent.slot(use)
    slot.run([(100,), (1,)], shown={"measure_memory": True})
    slot.run([(1,)])
    large, small, unmeasured = (row.memory for row in agent.rows())

    assert 100 < large < 200
    assert 1 < small < large - 80
    assert unmeasured == 0
