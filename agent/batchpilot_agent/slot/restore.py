"""Give a warm slot to its next job as the last one found it.

Two questions after each job. *Has it changed what can be given back?* Working directory,
environment, sys.path and sys.argv, umask, signal handlers and alarms, warning filters, the depth
of recursion are compared and put back (the standard streams are `capture`'s, generators `seeds`').
*Has it left behind what cannot be taken back?* Threads, children, many open files, limits, much
memory, builtins with other meanings: then the slot is dirty and is replaced. Every job pays for
the questions, so the dear ones (all signals, limits, memory, builtins; 0.1 ms together when cold)
are asked only after a job of more than 1 ms and after the last of an order. Attributes of other
modules are not looked at: jobs that change them need `isolation="process"`.

What still runs is looked for before the job's output is taken: what a thread or a child writes
later must not be found in the next job's log.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # has no stub
import _thread
import builtins
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from operator import is_

from batchpilot_agent.segments import high_fd


SHORTEST_FORK = 20e-6
"""Seconds that making a process takes at the least: a job that ran less has no children."""

LONG_JOB = 0.001
"""Seconds from which on the dear questions are asked after a job."""

MEMORY_GROWTH = 256 << 20
"""Bytes that a slot may grow over what it was when it was forked."""

MANY_FILES = 100
"""Descriptors that jobs may leave open in a slot."""

_ALL = tuple(sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))
_COMMON = tuple(
    int(s)
    for s in (
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGALRM,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGCHLD,
        signal.SIGPIPE,
        signal.SIGCONT,
        signal.SIGXCPU,
        signal.SIGVTALRM,
        signal.SIGPROF,
    )
)
_LIMITS = tuple(sorted({v for n, v in vars(resource).items() if n.startswith("RLIMIT_")}))
_GLANCES, _BETWEEN_GLANCES = 20, 0.001
_PAGE = resource.getpagesize()
_KILOBYTE = 1024

# The functions below the wrappers of `signal` do not turn numbers into enums: 20 times cheaper.
_getsignal = _signal.getsignal
_alarm, _sigmask = _signal.alarm, _signal.pthread_sigmask
_rusage, _SELF = resource.getrusage, resource.RUSAGE_SELF
_getcwd, _umask, _waitpid, _NOHANG = os.getcwd, os.umask, os.waitpid, os.WNOHANG
_dup, _close, _recursion = os.dup, os.close, sys.getrecursionlimit
_builtins = vars(builtins)
_len, _list, _map, _all, _tuple = len, list, map, all, tuple  # before a job changes them
_threads: Callable[[], int] = _thread._count  # noqa: SLF001 - counts raw threads too
_show_warnings_again: Callable[[], None] = getattr(warnings, "_filters_mutated", lambda: None)


class Snapshot:
    """Remember this process as it is now, to give it back after each job."""

    def __init__(self) -> None:
        self._cwd = _getcwd()
        self._cwd_fd = high_fd(os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        self._environ = os.environ
        self._variables: dict[bytes, bytes] = dict(_data(os.environ))
        self._path, self._path_items = sys.path, list(sys.path)
        self._argv, self._argv_items = sys.argv, list(sys.argv)
        self._filters, self._filter_items = warnings.filters, list(warnings.filters)
        self._umask = _umask(0o077)
        _umask(self._umask)
        self._common = list(map(_getsignal, _COMMON))
        self._all = list(map(_getsignal, _ALL))
        self._threads = _threads()
        self._limits = _limits()
        self._statm = high_fd(os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC))
        self._memory = self._resident()
        self._recursion = _recursion()
        self._lowest = _lowest_free(self._cwd_fd)
        self._builtin_names, self._builtin_values = tuple(_builtins), tuple(_builtins.values())
        self._builtin_count = len(_builtins)

    def assume(self, variables: Mapping[str, str]) -> None:
        """Set variables that are from now on what the environment is given back to."""
        os.environ.update(variables)
        self._variables = dict(_data(os.environ))

    def quiet(self) -> None:
        """Disarm the job's alarm and give back signal handlers: nothing interrupts what follows."""
        _alarm(0)
        if len is not _len:
            self._mend_builtins()  # or the job's record would have a wrong size
        if _list(_map(_getsignal, _COMMON)) != self._common:
            self._restore_signals()

    def restore(self) -> None:
        """Give back all that can be given back and is cheap to ask for."""
        _show_warnings_again()
        try:
            moved = _getcwd() != self._cwd
        except OSError:
            moved = True  # the directory is gone
        if moved:
            os.fchdir(self._cwd_fd)
        _umask(self._umask)  # to ask would be to set it, too
        if os.environ is not self._environ or _data(self._environ) != self._variables:
            self._restore_environment()
        if sys.path is not self._path or sys.path != self._path_items:
            sys.path = self._path
            sys.path[:] = self._path_items
        if sys.argv is not self._argv or sys.argv != self._argv_items:
            sys.argv = self._argv
            sys.argv[:] = self._argv_items
        if warnings.filters is not self._filters or warnings.filters != self._filter_items:
            self._restore_filters()
        if _recursion() != self._recursion:
            sys.setrecursionlimit(self._recursion)

    def left_running(self, took: float) -> str:
        """Say what a job of so many seconds has left that may still write; "" for nothing."""
        if _threads() > self._threads:
            return "threads"
        return "" if 0 <= took < SHORTEST_FORK else _children()

    def left_behind(self, took: float) -> str:
        """Say what else such a job has left that cannot be taken back; "" for nothing."""
        if 0 <= took < SHORTEST_FORK:
            return ""
        if _lowest_free(self._cwd_fd) > self._lowest + MANY_FILES:
            return "open files"
        return self.left_behind_dear() if not 0 <= took < LONG_JOB else ""

    def left_behind_dear(self) -> str:
        """Say what is dear to find and cannot be taken back; "" for nothing."""
        if self._mend_builtins():
            return "builtins"
        if list(map(_getsignal, _ALL)) != self._all:
            self._restore_signals()
        if _limits() != self._limits:
            return "limits"
        if self._has_grown():
            return "memory"
        return ""

    def close(self) -> None:
        """Let go of what was kept open to look."""
        os.close(self._cwd_fd)
        os.close(self._statm)

    def _restore_signals(self) -> None:
        for number, handler in zip(_ALL, self._all, strict=True):
            if handler is not None and _getsignal(number) != handler:
                signal.signal(number, handler)

    def _mend_builtins(self) -> bool:
        """Give builtins that the job has replaced their meaning again; tell whether there were any.

        New names are none of ours: a library that the job was the first to import may need them.
        """
        if _tuple(_builtins.values())[: self._builtin_count] == self._builtin_values:
            return False  # the usual case, told by 150 pointers that are the same
        if _all(_map(is_, _map(_builtins.get, self._builtin_names), self._builtin_values)):
            return False
        _builtins.update(zip(self._builtin_names, self._builtin_values, strict=True))
        return True

    def _restore_environment(self) -> None:
        os.environ = self._environ  # noqa: B003 - a job may have put another object there
        data = _data(self._environ)
        for name in data.keys() - self._variables.keys():
            os.unsetenv(name)
        for name, value in self._variables.items():
            if data.get(name) != value:
                os.putenv(name, value)
        data.clear()
        data.update(self._variables)
        time.tzset()

    def _restore_filters(self) -> None:
        warnings.filters = self._filters
        self._filters[:] = self._filter_items  # type: ignore[index]  # a list, whatever the stub says
        _show_warnings_again()

    def _has_grown(self) -> bool:
        """Tell whether much memory is left; the peak, which is cheap to ask for, mostly says no."""
        most = self._memory + MEMORY_GROWTH
        peak = _rusage(_SELF).ru_maxrss * _KILOBYTE
        return peak > most and self._resident() > most

    def _resident(self) -> int:
        return int(os.pread(self._statm, 64, 0).split()[1]) * _PAGE


def _children() -> str:
    """Reap what has ended; a child may close its output, and be read to the end, before it has."""
    for _ in range(_GLANCES):
        try:
            while _waitpid(-1, _NOHANG)[0]:
                pass
        except ChildProcessError:
            return ""
        time.sleep(_BETWEEN_GLANCES)
    return "children"


def _lowest_free(fd: int) -> int:
    """Return the descriptor that the next open file would get."""
    try:
        lowest = _dup(fd)
    except OSError:
        return sys.maxsize  # there is none
    _close(lowest)
    return lowest


def _data(environ: os._Environ[str]) -> dict[bytes, bytes]:
    """Return the dict behind `os.environ`: comparing it needs no decoding."""
    return environ._data  # type: ignore[attr-defined, no-any-return]  # noqa: SLF001 - the public view decodes each item


def _limits() -> tuple[object, ...]:
    """Return all that bounds this process and cannot always be raised again."""
    return (
        *map(resource.getrlimit, _LIMITS),
        os.sched_getaffinity(0),
        os.getpriority(os.PRIO_PROCESS, 0),
        _sigmask(signal.SIG_BLOCK, ()),
    )
