"""What the jobs of these tests do. It is stored with each submission, and the agents import it."""

from __future__ import annotations

import io
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batchpilot_agent.job import HandBack


SLEEP = shutil.which("sleep") or "sleep"


def brief(i: int, seconds: float) -> int:
    """Take some seconds."""
    time.sleep(seconds)
    return i


def brief_or_long(i: int, briefs: int, seconds: float) -> int:
    """Take half a millisecond; the last jobs take longer and leave a program in its own session."""
    if i > briefs:
        subprocess.Popen([SLEEP, "600"], start_new_session=True)
    return brief(i, seconds if i > briefs else 0.0003)


def gated(i: int, gates: str, job: Any) -> int:  # noqa: ARG001 - what is mapped over
    """Say that this attempt runs, wait until the test lets it go, and return its number."""
    Path(gates, f"began-{job.id}-{job.attempt}").touch()
    while not Path(gates, f"open-{job.id}-{job.attempt}").exists():
        time.sleep(0.005)
    return int(job.attempt)


def brief_until_hurried(i: int, gates: str) -> int:
    """Take some milliseconds, and none from when the test says so."""
    return i if Path(gates, "hurry").exists() else brief(i, 0.01)


def gated_or_brief(i: int, first: int, gates: str, job: Any) -> int:
    """Be gated, if one of the first; else take some milliseconds."""
    return gated(i, gates, job) if i <= first else brief(i, 0.003)


_calls = 0


def leaky(i: int) -> dict[str, Any]:
    """Say how the process was found, then leave it as badly as can be taken back."""
    global _calls  # noqa: PLW0603 - what is tested
    found = {
        "pid": os.getpid(),
        "calls": _calls,
        "cwd": str(Path.cwd()),
        "variable": os.environ.get("LEAK"),
        "path": "/leak" in sys.path,
        "argv": "leak" in sys.argv,
        "umask": _umask(),
        "handler": signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL,
        "alarm": signal.alarm(100),
        "filters": len(warnings.filters),
        "draw": random.random(),  # noqa: S311 - seeded by the job's id
        "stdout": sys.stdout is sys.__stdout__,
        "stdin": str(Path("/proc/self/fd/0").readlink()),
    }
    print(f"job {i}")  # noqa: T201 - the output is tested
    _calls += 1
    os.chdir("/")
    os.environ["LEAK"] = "leak"
    sys.path.insert(0, "/leak")
    sys.argv.append("leak")
    os.umask(0)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    random.seed(1)
    sys.stdout = io.StringIO()
    os.close(0)
    return found


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def dirty(i: int, what: str) -> int:
    """Leave behind what cannot be taken back; return the process that did."""
    if what == "thread":
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    elif what == "child":
        subprocess.Popen([SLEEP, "600"])
    elif what == "limit":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    elif what == "memory":
        _kept.append(b"%d" % (i % 10) * (300 << 20))
    time.sleep(0.03)  # of a shorter job the dear questions are not asked
    return os.getpid()


_kept: list[bytes] = []


def poison(i: int, kind: str, job: Any) -> int:
    """End in some bad way."""
    if kind in _ENDS:
        _ENDS[kind]()
    elif kind == "raises":
        raise ValueError(f"job {i} has no answer")
    elif kind == "returns always" or (kind == "returns once" and job.attempt == 1):
        raise HandBack
    return i


def _deaf() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def _eats() -> None:
    """Use 200 MB here and as many in a child."""
    code = "x = b'x' * (200 << 20); input()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    _kept.append(b"x" * (200 << 20))
    child.wait(600)


_ENDS: dict[str, Callable[[], object]] = {
    "sleeps": lambda: time.sleep(600),
    "deaf": _deaf,
    "eats": _eats,
    "signal": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "exit": lambda: os._exit(7),
}


def gated_one(i: int, which: int, gates: str, job: Any) -> int:
    """Be quick, but gated if one certain job."""
    return gated(i, gates, job) if i == which else brief(i, 0.001)


def gated_when_stopped(i: int, which: int, gates: str, job: Any) -> int:
    """Be quick; one certain job stops the process that the test names, then is gated."""
    if i == which:
        os.kill(int(Path(gates, "pid").read_text()), signal.SIGSTOP)
    return gated_one(i, which, gates, job)
