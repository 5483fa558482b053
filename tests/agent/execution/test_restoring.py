"""A warm slot gives each job the process that the first one had."""

# ruff: noqa: ARG001 - jobs take a parameter, needed or not
# ruff: noqa: PTH106, PTH109, PTH115 - what the kernel says of this process is asked by os

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest


if TYPE_CHECKING:
    from tests.agent.execution.conftest import Agent


def look() -> dict[str, Any]:
    """Return all of a process that a job may have changed."""
    import os  # noqa: PLC0415 - as in a job
    import signal  # noqa: PLC0415 - as in a job
    import sys  # noqa: PLC0415 - as in a job
    import warnings  # noqa: PLC0415 - as in a job

    umask = os.umask(0)
    os.umask(umask)
    with os.popen("env | sort") as shown:  # noqa: S605, S607 - what children see
        inherited = shown.read()
    return {
        "cwd": os.getcwd(),
        "environ": dict(os.environ),
        "inherited": inherited,
        "path": list(sys.path),
        "argv": list(sys.argv),
        "umask": umask,
        "signals": [signal.getsignal(n) for n in range(1, 32)],
        "alarm": signal.alarm(0),
        "filters": list(warnings.filters),
        "fds": [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)],
        "streams": [sys.stdin.fileno(), sys.stdout.fileno(), sys.stderr.fileno()],
        "closed": [sys.stdin.closed, sys.stdout.closed, sys.stderr.closed],
    }


def change_directory() -> None:
    import os  # noqa: PLC0415 - as in a job

    os.chdir("/")


def delete_directory() -> None:
    import os  # noqa: PLC0415 - as in a job
    import tempfile  # noqa: PLC0415 - as in a job

    os.chdir(tempfile.mkdtemp())
    os.rmdir(os.getcwd())


def change_environment() -> None:
    import os  # noqa: PLC0415 - as in a job

    os.environ["NEW"] = "x"
    os.environ["HOME"] = "/elsewhere"
    del os.environ["PATH"]


def replace_environment() -> None:
    import os  # noqa: PLC0415 - as in a job

    os.environ = {"a": "b"}  # type: ignore[assignment]  # noqa: B003 - what is tested


def change_time_zone() -> None:
    import os  # noqa: PLC0415 - as in a job
    import time  # noqa: PLC0415 - as in a job

    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()


def change_path() -> None:
    import sys  # noqa: PLC0415 - as in a job

    sys.path.insert(0, "/elsewhere")
    sys.argv[:] = ["other", "arguments"]


def replace_path() -> None:
    import sys  # noqa: PLC0415 - as in a job

    sys.path, sys.argv = ["/elsewhere"], []


def change_umask() -> None:
    import os  # noqa: PLC0415 - as in a job

    os.umask(0o000)


def change_handlers() -> None:
    import signal  # noqa: PLC0415 - as in a job

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.alarm(1)


def leave_an_alarm() -> None:
    import signal  # noqa: PLC0415 - as in a job

    signal.setitimer(signal.ITIMER_REAL, 60.0)


def change_filters() -> None:
    import warnings  # noqa: PLC0415 - as in a job

    warnings.simplefilter("error")


def replace_filters() -> None:
    import warnings  # noqa: PLC0415 - as in a job

    warnings.filters = []


def replace_streams() -> None:
    import io  # noqa: PLC0415 - as in a job
    import sys  # noqa: PLC0415 - as in a job

    sys.stdout = sys.stderr = io.StringIO()
    sys.stdin = None


def close_streams() -> None:
    import sys  # noqa: PLC0415 - as in a job

    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.close()


def close_descriptors() -> None:
    import os  # noqa: PLC0415 - as in a job

    os.closerange(0, 3)


def close_all_low_descriptors() -> None:
    import os  # noqa: PLC0415 - as in a job

    os.closerange(0, 200)


def redirect_descriptors() -> None:
    import os  # noqa: PLC0415 - as in a job

    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.close(null)


def put_pipes_on_descriptors() -> None:
    import os  # noqa: PLC0415 - as in a job

    reading, writing = os.pipe()
    os.dup2(reading, 0)
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    os.close(reading)
    os.close(writing)


CHANGES = [
    change_directory,
    delete_directory,
    change_environment,
    replace_environment,
    change_time_zone,
    change_path,
    replace_path,
    change_umask,
    change_handlers,
    leave_an_alarm,
    change_filters,
    replace_filters,
    replace_streams,
    close_streams,
    close_descriptors,
    redirect_descriptors,
    put_pipes_on_descriptors,
]


@pytest.mark.parametrize("change", CHANGES)
def test_the_next_job_finds_what_the_first_one_found(
    agent: Agent, change: Callable[[], None]
) -> None:
    def run(x: str) -> Any:
        if x == "change":
            change()
            return None
        if x == "print":
            print("printed")  # noqa: T201 - what is tested
            return None
        return look()

    slot = agent.slot(run)

    assert slot.run([("look",), ("change",), ("print",), ("look",)]) == [4, "done"]

    before, changed, printed, after = agent.rows()

    assert changed.value is None
    assert after.value == before.value
    assert agent.output(printed) == b"printed\n"


def test_sockets_and_segments_survive_a_job_that_closes_low_descriptors(agent: Agent) -> None:
    slot = agent.slot(lambda x: close_all_low_descriptors() if x else x)

    assert slot.run([(0,), (1,), (0,)]) == [3, "done"]
    assert len(agent.rows()) == 3


def test_an_alarm_does_not_reach_the_next_job(agent: Agent) -> None:
    def run(x: int) -> None:
        import signal  # noqa: PLC0415 - as in a job
        import time  # noqa: PLC0415 - as in a job

        if x:
            signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
            signal.setitimer(signal.ITIMER_REAL, 1.0)
        else:
            time.sleep(1.1)  # beyond the alarm of the first

    slot = agent.slot(run)
    slot.run([(1,), (0,)])

    assert [row.outcome for row in agent.rows()] == [1, 1]


def test_a_handler_that_raises_after_the_call_costs_only_its_job(agent: Agent) -> None:
    def run(x: int) -> int:
        import signal  # noqa: PLC0415 - as in a job

        class Late:
            def __reduce__(self) -> Any:
                import time  # noqa: PLC0415 - as in a job

                time.sleep(0.05)
                return (int, ())

        if x:
            signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        return Late() if x else x  # type: ignore[return-value]  # pickles as an int

    slot = agent.slot(run)

    assert slot.run([(1,), (0,)]) == [2, "done"]
    assert [row.outcome for row in agent.rows()] == [2, 1]


def hash_of(x: str) -> int:
    return hash(x)


def test_a_job_sees_an_ordinary_process(agent: Agent) -> None:
    def run(x: int) -> dict[str, Any]:
        import os  # noqa: PLC0415 - as in a job
        import signal  # noqa: PLC0415 - as in a job
        import sys  # noqa: PLC0415 - as in a job

        return {
            "leader": os.getsid(0) == os.getpid(),
            "marker": os.environ["BATCHPILOT_SLOT"],
            "term": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
            "int": signal.getsignal(signal.SIGINT) == signal.default_int_handler,
            "chld": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
            "stdin": sys.stdin.read(),
            "cwd": os.getcwd(),
            "main": vars(sys.modules["__main__"]).get("__file__"),
            "hash seed": hash("batchpilot"),
            "mask": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        }

    slot = agent.slot(run)
    slot.run([(1,)])
    seen = agent.rows()[0].value

    assert seen.pop("hash seed") == agent.value(hash_of, "batchpilot")
    assert seen == {
        "leader": True,
        "marker": f"agent1:0:{slot.serial}",
        "term": True,
        "int": True,
        "chld": True,
        "stdin": "",
        "cwd": str(agent.work_dir),
        "main": None,
        "mask": set(),
    }
