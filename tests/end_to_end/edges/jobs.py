"""What careless jobs do to their process, and how the next job finds it."""

from __future__ import annotations

import atexit
import builtins
import ctypes
import gc
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


_kept: list[Any] = []


def look() -> dict[str, Any]:
    """Return all of a process that the job before may have changed."""
    umask = os.umask(0o077)
    os.umask(umask)
    gc.collect()
    return {
        "argv": list(sys.argv),
        "builtins": [len([1, 2]), builtins.open.__module__, type(builtins.print).__name__],
        "children": _children(),
        "cwd": str(Path.cwd()),
        "environment": {k: v for k, v in os.environ.items() if k != "BATCHPILOT_SLOT"},
        "fds": [Path(f"/proc/self/fd/{fd}").readlink().name[:5] for fd in range(3)],
        "few files": len(os.listdir("/proc/self/fd")) < 40,  # noqa: PTH208 - asked of the kernel
        "handlers": [str(signal.getsignal(number)) for number in range(1, 32)],
        "limits": [resource.getrlimit(number) for number in range(10)],
        "path": list(sys.path),
        "recursion": sys.getrecursionlimit(),
        "streams": [s.fileno() for s in (sys.stdin, sys.stdout, sys.stderr)],
        "threads": threading.active_count(),
        "umask": umask,
    }


def _children() -> int:
    try:
        return os.waitpid(-1, os.WNOHANG)[0]
    except ChildProcessError:
        return 0


def close_1_and_2() -> None:
    os.close(1)
    os.close(2)


def print_from_c_without_a_flush() -> None:
    ctypes.CDLL(None).printf(b"from C")


def print_from_c_after_closing() -> None:
    os.close(1)
    ctypes.CDLL(None).puts(b"nobody reads this")


def fork_a_child_that_returns() -> None:
    if os.fork() == 0:
        sys.exit(0)


def fork_a_child_that_stays() -> None:
    if os.fork() == 0:
        time.sleep(600)


def leave_a_program_in_the_background() -> None:
    subprocess.run("(sleep 0.04; while echo late; do sleep 0.01; done) &", shell=True, check=True)  # noqa: S602, S607 - as users do


def end_shortly_after_in_the_background() -> None:
    if child := os.fork():
        os.waitpid(child, 0)
        return
    if not os.fork():
        time.sleep(0.002)  # it is scheduled twice while its slot looks for it 20 times
        os.write(1, b"soon\n")
    os._exit(0)


def change_the_directory() -> None:
    os.chdir(tempfile.mkdtemp())
    Path.cwd().rmdir()


def change_the_environment() -> None:
    os.environ.clear()
    os.environ["PATH"] = "/nowhere"


def change_handlers() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    signal.alarm(1)


def change_the_generators() -> None:
    random.seed(1)
    random.setstate(random.Random(2).getstate())  # noqa: S311 - any state


def lower_limits() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (50, 100))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def raise_the_recursion_limit() -> None:
    sys.setrecursionlimit(12_345)


def start_a_thread() -> None:
    write_on(0)


def write_on(i: int) -> None:
    """Return while a thread writes on, without waiting for the interpreter's lock."""
    command = f"while echo thread of {i}; do :; done".encode()
    threading.Thread(target=ctypes.CDLL(None).system, args=(command,), daemon=True).start()
    while not os.fstat(1).st_size:
        time.sleep(0.001)


def install_atexit() -> None:
    atexit.register(os.write, 1, b"at exit\n")


def exit_with_3() -> None:
    sys.exit(3)


def interrupt() -> None:
    raise KeyboardInterrupt


def exit_at_once() -> None:
    os._exit(3)


def replace_open_and_print() -> None:
    builtins.open = builtins.print = None  # type: ignore[assignment]  # what is tested


def replace_len() -> None:
    builtins.len = lambda _: 0


def exhaust_descriptors() -> None:
    while True:
        _kept.append(os.dup(0))


def recurse_in_python() -> None:
    recurse_in_python()


def recurse_in_c() -> None:
    sys.setrecursionlimit(10**9)
    _deeper(0)


def _deeper(_: int) -> list[Any]:
    return list(map(_deeper, [0]))


def write_more_than_it_may() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with tempfile.TemporaryFile() as file:
        file.write(bytes(2 << 20))


def close_the_streams() -> None:
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.close()


ENDINGS: dict[Callable[[], None], str] = {
    close_1_and_2: "",
    close_the_streams: "",
    print_from_c_without_a_flush: "",
    print_from_c_after_closing: "",
    fork_a_child_that_returns: "",
    fork_a_child_that_stays: "",
    leave_a_program_in_the_background: "",
    end_shortly_after_in_the_background: "",
    change_the_directory: "",
    change_the_environment: "",
    change_handlers: "",
    change_the_generators: "",
    lower_limits: "",
    raise_the_recursion_limit: "",
    start_a_thread: "",
    install_atexit: "",
    replace_open_and_print: "",
    replace_len: "",
    exit_with_3: "SystemExit: 3",
    interrupt: "KeyboardInterrupt",
    exit_at_once: "exit code 3",
    exhaust_descriptors: "OSError: [Errno 24] Too many open files",
    recurse_in_python: "RecursionError: maximum recursion depth exceeded",
    recurse_in_c: "signal 11 (SIGSEGV)",
    write_more_than_it_may: "OSError: [Errno 27] File too large",
}
"""What each of them is told to have failed of, "" where it is done."""

KINDS = {fun.__name__: fun for fun in ENDINGS}
SECONDS = 0.003
"""Long enough for threads to be seen; what is dear to find is looked for at the end of a chunk."""


def run(kind: str, turn: int) -> Any:
    """Do what the kind says, or look at what is left of it."""
    if kind == "look":
        return {**look(), "draw": random.random()}  # noqa: S311 - seeded by the job's id
    time.sleep(SECONDS)
    KINDS[kind]()
    return turn
