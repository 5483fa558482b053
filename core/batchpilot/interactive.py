"""Run jobs in the session itself: what the pool `Interactive` does with a submission.

The code of a slot is run in this process (or, `external`, in a fresh one for each job), with the
same seeds, the same capture of the output and the same records in a segment, so that results,
logs and states are read as any others. The hash seed and the thread counts are this process's
own.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchpilot_agent.capture import Capture, Spool
from batchpilot_agent.epoch import load_epoch
from batchpilot_agent.execution import Execution, Order
from batchpilot_agent.objects import ObjectStore
from batchpilot_agent.seeds import Seeder
from batchpilot_agent.segments import SegmentWriter, create_segment
from batchpilot_agent.values import ValueReader
from batchpilot_broker.nouns import Isolation
from batchpilot_broker.paths import RegistryPaths

from .errors import SubmissionError
from .store.changing import Applied, apply_rows, revoke
from .store.database import Database
from .store.pages import Ids, State
from .store.params import ParsReader
from .store.replay import read_stretch


if TYPE_CHECKING:
    from .registry.base import RegistryBase

APPLY_EVERY = 0.25


class Here:
    """Run the jobs of one submission here, one after another.

    Args:
        paths: The registry's files.
        database: Its database.
        instance: The registry's instance.
    """

    def __init__(self, paths: RegistryPaths, database: Database, instance: str) -> None:
        self._paths = paths
        self._db = database
        self.agent = f"interactive-{secrets.token_hex(4)}"
        for path in (paths.results(self.agent), paths.job_logs(self.agent)):
            create_segment(path, self.agent, instance)
        with database.write() as tx:
            name = paths.results(self.agent).name
            self._segment = int(tx.execute("add_segment", name, self.agent).lastrowid or 0)

    def hand_out(self, ids: Ids) -> int:
        """Mark jobs as handed out and return their attempt."""
        with self._db.write() as tx:
            attempt = int(tx.pages.take("attempt", ids).max()) + 1
            tx.pages.put("attempt", ids, attempt)
            tx.pages.put("state", ids, State.FED)
            submission = int(tx.pages.take("submission", ids[:1])[0])
            tx.execute("drop_spans", submission)
        return attempt

    def apply(self) -> None:
        """Move the registry's states by what the segment holds."""
        with self._db.write() as tx:
            done = tx.execute("read_segment", self._paths.results(self.agent).name).fetchone()[1]
            stretch = read_stretch(self._paths.results(self.agent), done)
            apply_rows(tx, self._segment, stretch.rows, Applied())
            tx.execute("move_segment", stretch.end, self._segment)

    def give_up(self, ids: Ids) -> None:
        """Take back what was not run."""
        with self._db.write() as tx:
            states = tx.pages.take("state", ids)
            revoke(tx, ids[states == State.FED])


def run_here(registry: RegistryBase, ids: Ids, epoch: str, *, external: bool) -> None:
    """Run submitted jobs in this session and return when all have ended.

    Raises:
        KeyboardInterrupt: The user interrupted; the jobs not yet run are as if never submitted.
    """
    here = Here(registry.paths, registry.database, registry.instance)
    attempt = here.hand_out(ids)
    reader = ParsReader()
    applied = time.monotonic()
    with _runner(registry, here.agent, epoch, external=external) as run:
        try:
            for job in ids.tolist():
                with registry.database.read() as tx:
                    _, pars = reader.slice(tx, ids[ids == job][:1])
                run(job, attempt, pars)
                if time.monotonic() - applied > APPLY_EVERY:
                    here.apply()
                    applied = time.monotonic()
        finally:
            here.apply()
            here.give_up(ids)


Run = Callable[[int, int, bytes], None]


@contextmanager
def _runner(registry: RegistryBase, agent: str, epoch: str, *, external: bool) -> Iterator[Run]:
    if external:

        def run_outside(job: int, attempt: int, pars: bytes) -> None:
            _run_outside(registry.paths, agent, epoch, registry.seed, job, attempt, pars)

        yield run_outside
        return
    with _execution(registry.paths, agent, epoch) as execution, _interruptible() as check:

        def run(job: int, attempt: int, pars: bytes) -> None:
            execution.run(_order(job, attempt, pars, registry.seed), 0, time.time())
            check()

        yield run


@contextmanager
def _execution(paths: RegistryPaths, agent: str, epoch: str) -> Iterator[Execution]:
    """Give what runs jobs here; afterwards fds 0 to 2, path and directory are as before."""
    kept = [os.dup(fd) for fd in range(3)]
    cwd, path = Path.cwd(), list(sys.path)
    with tempfile.TemporaryDirectory(prefix="batchpilot-") as scratch:
        store = ObjectStore(paths.objects)
        loaded = load_epoch(store, epoch)
        results = SegmentWriter(paths.results(agent))
        logs = SegmentWriter(paths.job_logs(agent))
        try:
            yield Execution(
                epoch=loaded,
                registry=paths.root,
                slot=0,
                values=ValueReader(store),
                results=results,
                capture=Capture(Spool(Path(scratch) / "spool"), logs),
                seeder=Seeder(),
            )
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for fd, old in enumerate(kept):
                os.dup2(old, fd)
                os.close(old)
            results.close()
            logs.close()
            os.chdir(cwd)
            sys.path[:] = path


@contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """Remember an interrupt that a job has swallowed: the job is an error, and then all ends."""
    interrupted = False

    def note(*_: Any) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    def check() -> None:
        if interrupted:
            raise KeyboardInterrupt

    old = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, old)


def _order(job: int, attempt: int, pars: bytes, seed: int) -> Order:
    return Order(
        serial=1,
        chunk=0,
        attempt=attempt,
        ids=(job,),
        offsets=memoryview(b"\0\0\0\0" + len(pars).to_bytes(4, "little")).cast("I"),
        pars=memoryview(pars),
        isolation=Isolation.SLOT,
        seed=seed,
        shown={},
    )


def _run_outside(  # noqa: PLR0913, PLR0917 - the facts of one job
    paths: RegistryPaths, agent: str, epoch: str, seed: int, job: int, attempt: int, pars: bytes
) -> None:
    """Run one job in a fresh process; one that dies without a record makes the submission fail."""
    command = [sys.executable, "-m", "batchpilot.interactive", str(paths.root), agent, epoch]
    command += [str(seed), str(job), str(attempt)]
    before = paths.results(agent).stat().st_size
    ended = subprocess.run(
        command, input=pars, check=False, env={**os.environ, "PYTHONHASHSEED": "0"}
    )
    if paths.results(agent).stat().st_size == before:
        raise SubmissionError(
            f"the process of job {job} ended with {ended.returncode} and left no record",
            remedy=f"look at it with test_job({job})",
        )


def main() -> None:
    """Run one job: the fresh process of `Interactive(external=True)`."""
    parser = argparse.ArgumentParser(prog="python -m batchpilot.interactive")
    parser.add_argument("directory", type=Path)
    parser.add_argument("agent")
    parser.add_argument("epoch")
    for name in ("seed", "job", "attempt"):
        parser.add_argument(name, type=int)
    given = parser.parse_args()
    pars = sys.stdin.buffer.read()
    with _execution(RegistryPaths(given.directory), given.agent, given.epoch) as execution:
        execution.run(_order(given.job, given.attempt, pars, given.seed), 0, time.time())


if __name__ == "__main__":
    main()
