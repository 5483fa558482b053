"""What the jobs of these tests do. It is stored with each submission, and the agents import it."""

from __future__ import annotations

import io
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

from batchpilot_agent.job import HandBack


def brief(i: int, seconds: float) -> int:
    """Take some seconds."""
    time.sleep(seconds)
    return i


def brief_or_long(i: int, briefs: int, seconds: float) -> int:
    """Take half a millisecond; the jobs behind take longer, and start a program in a session of its own."""
    if i > briefs:
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    return brief(i, seconds if i > briefs else 0.0003)


def gated(i: int, gates: str, job: Any) -> int:
    """Say that this attempt runs, wait until the test lets it go, and return its number."""
    Path(gates, f"began-{job.id}-{job.attempt}").touch()
    while not Path(gates, f"open-{job.id}-{job.attempt}").exists():
        time.sleep(0.005)
    return int(job.attempt)


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
        "stdin": os.readlink("/proc/self/fd/0"),
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
    match what:
        case "thread":
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        case "child":
            subprocess.Popen(["sleep", "600"])
        case "limit":
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
        case "memory":
            _kept.append(bytes(300 << 20).replace(b"\0", b"x", i))
    time.sleep(0.002)  # of a shorter job the dear questions are not asked
    return os.getpid()


_kept: list[bytes] = []


def poison(i: int, kind: str, gates: str, job: Any) -> int:
    """End in some bad way, or well in the second attempt."""
    Path(gates, f"{kind}-{i}-{job.attempt}").touch()
    match kind:
        case "sleeps":
            time.sleep(600)
        case "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
        case "eats":
            grown = subprocess.Popen([sys.executable, "-c", "x = b'x' * (200 << 20); input()"], stdin=-1)
            kept = b"x" * (200 << 20)
            grown.wait(600)
            return len(kept)
        case "signal":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(7)
        case "raises":
            raise ValueError(f"job {i} has no answer")
        case "returns once":
            if job.attempt == 1:
                raise HandBack
        case "returns always":
            raise HandBack
    return i


def checkpoints(i: int, gates: str, job: Any) -> int:
    """Be gated; told to go, hand the job back."""

    def go(*_: object) -> None:
        raise HandBack

    signal.signal(signal.SIGTERM, go)
    return gated(i, gates, job)


def gated_one(i: int, which: int, gates: str, job: Any) -> int:
    """Be quick, but gated if one certain job."""
    return gated(i, gates, job) if i == which else brief(i, 0.001)
