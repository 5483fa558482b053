"""The keeper ends what its agent left behind, whatever became of the pilot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.conftest import Until, wait_until

from batchpilot_agent.launch import clean_environment
from batchpilot_agent.processes import process_table


MARKERS = {"BATCHPILOT_INSTANCE": f"test{os.getpid()}", "BATCHPILOT_AGENT": "a1"}


def alive(pid: int) -> bool:
    try:
        return b") Z" not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False


def strike(pids: list[int], number: int) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(pid, number)


def kill_session(leader: int, number: int) -> None:
    """End all processes of a session, as PBS does."""
    strike([pid for pid, one in process_table().items() if one.session == leader], number)


def kill_group(leader: int, number: int) -> None:
    """End all processes of a group, as LSF does."""
    with suppress(ProcessLookupError):  # as above
        os.killpg(leader, number)


def said(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


class Kept:
    """A keeper whose pilot runs some lines of Python."""

    def __init__(self, directory: Path, pilot: str) -> None:
        self.directory = directory
        self.scratch = directory / "scratch"
        lines = "\n".join(f"    {line}" for line in pilot.splitlines())
        code = (
            "import os, pathlib, signal, subprocess, sys, time\n"
            "from batchpilot_agent.keeper import keep\n"
            f"here = pathlib.Path({str(directory)!r})\n"
            "def tell(name, text=''):\n"
            "    (here / '~').write_text(str(text)); (here / '~').rename(here / name)\n"
            f"def pilot():\n{lines}\n"
            f"sys.exit(keep({MARKERS!r}, here / 'scratch', pilot))\n"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=clean_environment(os.environ),
            start_new_session=True,
        )

    @property
    def processes(self) -> list[int]:
        """Return the keeper and what it has forked, the warden too, as far as they live."""
        line = Path(f"/proc/{self.process.pid}/cmdline").read_bytes()
        return [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if said(path) == line
        ]

    def told(self, name: str) -> str:
        """Wait for what the pilot tells, and return it."""
        wait_until((self.directory / name).exists)
        return (self.directory / name).read_text()


@pytest.fixture
def kept() -> Iterator[list[Kept]]:
    started: list[Kept] = []
    yield started
    for keeper in started:
        keeper.process.kill()
        keeper.process.wait()


def test_it_returns_the_pilots_code_and_removes_the_scratch(
    kept: list[Kept], tmp_path: Path
) -> None:
    pilot = (
        "places = [here / 'scratch', here / 'scratch' / 'tmp']\n"
        "(places[1] / 'left').mkdir()\n"
        "tell('modes', [oct(place.stat().st_mode & 0o777) for place in places])\n"
        "return 7"
    )
    kept.append(Kept(tmp_path, pilot))

    assert kept[0].process.wait(60) == 7
    assert kept[0].told("modes") == "['0o700', '0o700']"
    assert not kept[0].scratch.exists()


@pytest.mark.parametrize("kind", ["directory", "link"])
def test_it_takes_nothing_that_is_there_already_and_leaves_it_alone(
    kept: list[Kept], tmp_path: Path, kind: str
) -> None:
    (tmp_path / "others").mkdir()
    if kind == "link":
        (tmp_path / "scratch").symlink_to(tmp_path / "others")
    else:
        (tmp_path / "scratch").mkdir(mode=0o777)
    kept.append(Kept(tmp_path, "tell('flown')"))

    assert kept[0].process.wait(60) == 1
    assert not (tmp_path / "flown").exists()
    assert not list((tmp_path / "scratch").iterdir())


def test_it_removes_what_an_agent_has_left_whose_processes_were_all_killed(
    kept: list[Kept], tmp_path: Path, until: Until
) -> None:
    kept.append(Kept(tmp_path, "tell('ready')\ntime.sleep(600)"))
    kept[0].told("ready")
    processes = kept[0].processes
    strike(processes, signal.SIGSTOP)  # as if it were one blow
    strike(processes, signal.SIGKILL)
    until(lambda: kept[0].process.poll() and not any(map(alive, processes)))
    left = tmp_path / "batchpilot-0123456789ab"
    kept[0].scratch.rename(left)
    (left / "tmp" / "file").touch()
    os.utime(left, (0, 0))

    wait = f"while pathlib.Path({str(left)!r}).exists():\n    time.sleep(0.01)\nreturn 0"
    kept.append(Kept(tmp_path, wait))

    assert kept[1].process.wait(60) == 0


def test_a_pilot_that_raises_is_a_failure(kept: list[Kept], tmp_path: Path) -> None:
    kept.append(Kept(tmp_path, "raise RuntimeError('broken')"))

    assert kept[0].process.wait(60) == 70


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2])
def test_it_passes_signals_on(kept: list[Kept], tmp_path: Path, number: signal.Signals) -> None:
    pilot = (
        f"signal.signal({int(number)}, lambda n, f: os._exit(40 + n))\n"
        "tell('ready')\ntime.sleep(600)"
    )
    kept.append(Kept(tmp_path, pilot))
    kept[0].told("ready")
    kept[0].process.send_signal(number)

    assert kept[0].process.wait(60) == 40 + number


def test_it_ends_marked_processes_and_orphans_without_a_marker(
    kept: list[Kept], tmp_path: Path
) -> None:
    pilot = f"""
environment = {{**{MARKERS!r}, 'PATH': os.environ['PATH']}}
marked = subprocess.Popen(['sleep', '600'], start_new_session=True, env=environment)
deaf = 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)'
deaf = subprocess.Popen([sys.executable, '-c', deaf], start_new_session=True)
shell = f'setsid env -i sleep 600 & echo $! > {{here}}/orphan'
subprocess.run(['sh', '-c', shell])
orphan = (here / 'orphan').read_text()
tell('pids', f'{{marked.pid}} {{deaf.pid}} {{orphan}}')
os.kill(os.getpid(), 9)"""
    kept.append(Kept(tmp_path, pilot))

    assert kept[0].process.wait(60) == 128 + 9
    assert not any(alive(int(pid)) for pid in kept[0].told("pids").split())
    assert not kept[0].scratch.exists()


def test_when_it_dies_the_pilot_is_told(kept: list[Kept], tmp_path: Path) -> None:
    pilot = (
        "signal.signal(signal.SIGTERM, lambda n, f: (tell('told'), os._exit(0)))\n"
        "tell('ready')\ntime.sleep(600)"
    )
    kept.append(Kept(tmp_path, pilot))
    kept[0].told("ready")
    kept[0].process.kill()

    assert kept[0].told("told") == ""


def test_when_it_dies_the_scratch_is_removed_once_the_pilot_has_left(
    kept: list[Kept], tmp_path: Path, until: Until
) -> None:
    pilot = (
        "caught = []\nsignal.signal(signal.SIGTERM, lambda n, f: caught.append(n))\n"
        "(here / 'scratch' / 'tmp' / 'left').touch()\ntell('ready')\n"
        "while not caught:\n    time.sleep(0.01)\n"
        "tell('told', (here / 'scratch').is_dir())\nreturn 0"
    )
    kept.append(Kept(tmp_path, pilot))
    kept[0].told("ready")
    kept[0].process.kill()

    until(lambda: not kept[0].scratch.exists())
    assert kept[0].told("told") == "True"


def leaves(code: str) -> str:
    """Return lines of a pilot that start what a job may start, in a session of its own.

    Args:
        code: What is started: Python that prints a line when it is ready; it is passed the keeper's
            pid and a path.
    """
    return f"""
environment = {{**{MARKERS!r}, 'PATH': os.environ['PATH']}}
left = subprocess.Popen(
    [sys.executable, '-c', {code!r}, str(os.getppid()), str(here / 'outlived')],
    start_new_session=True,
    env=environment,
    stdout=subprocess.PIPE,
)
left.stdout.readline()
tell('left', left.pid)
"""


DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(600)"


@pytest.mark.parametrize("how", [kill_group, kill_session], ids=["group", "session"])
def test_what_jobs_left_is_ended_when_all_are_killed_at_once(
    kept: list[Kept], tmp_path: Path, until: Until, how: Callable[[int, int], None]
) -> None:
    kept.append(Kept(tmp_path, leaves(DEAF) + "time.sleep(600)"))
    left = int(kept[0].told("left"))
    processes = kept[0].processes
    assert len(processes) == 3

    how(kept[0].process.pid, signal.SIGTERM)
    how(kept[0].process.pid, signal.SIGKILL)

    until(lambda: not alive(left), 30.0)
    until(lambda: not kept[0].scratch.exists())
    until(lambda: not any(map(alive, processes)))


def test_what_jobs_left_is_ended_when_the_keeper_is_killed_over_it(
    kept: list[Kept], tmp_path: Path, until: Until
) -> None:
    killer = (
        "import os, pathlib, signal, sys, time\n"
        "def kill_the_keeper(*_):\n"
        "    signal.signal(15, signal.SIG_IGN)\n"
        "    os.kill(int(sys.argv[1]), 9)\n"
        "    pathlib.Path(sys.argv[2]).touch()\n"
        "signal.signal(15, kill_the_keeper)\n"
        "print(flush=True)\n"
        "time.sleep(600)"
    )
    pilot = "while not (here / 'die').exists():\n    time.sleep(0.01)\nos.kill(os.getpid(), 9)"
    kept.append(Kept(tmp_path, leaves(killer) + pilot))
    left = int(kept[0].told("left"))
    processes = kept[0].processes
    assert len(processes) == 3
    (tmp_path / "die").touch()

    assert kept[0].told("outlived") == ""
    assert kept[0].process.wait(60) == -signal.SIGKILL
    until(lambda: not any(map(alive, [left, *processes])), 30.0)


def test_nobody_is_left_when_it_has_ended(kept: list[Kept], tmp_path: Path) -> None:
    pilot = "tell('ready')\nwhile not (here / 'end').exists():\n    time.sleep(0.01)\nreturn 0"
    kept.append(Kept(tmp_path, pilot))
    kept[0].told("ready")
    processes = kept[0].processes
    (tmp_path / "end").touch()

    assert kept[0].process.wait(60) == 0
    assert len(processes) == 3
    assert not any(map(alive, processes))
