"""Run jobs in the session itself: what the pool `Interactive` does with a submission.

The code of a slot is run in this process (or, `external`, in a fresh one for each job), with the
same seeds, the same capture of the output and the same records in a segment, so that results,
logs and states are read as any others. The hash seed and the thread counts are this process's
own.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgpack
import numpy as np

from batchpilot_agent.errors import EpochError
from batchpilot_agent.objects import ObjectStore
from batchpilot_agent.segments import SegmentWriter, create_segment
from batchpilot_agent.slot.capture import Capture, Spool
from batchpilot_agent.slot.epoch import failure_of, load_epoch
from batchpilot_agent.slot.execution import Execution
from batchpilot_agent.slot.order import Order
from batchpilot_agent.slot.seeds import kept_generators
from batchpilot_agent.slot.threads import limited_threads
from batchpilot_agent.slot.values import ValueReader
from batchpilot_broker.frames import NO_PART, pack_row
from batchpilot_broker.nouns import Isolation, Outcome, Reason
from batchpilot_broker.paths import RegistryPaths

from .errors import SubmissionError
from .keeping import interruptible, kept_process
from .store.changing import Applied, apply_rows, revoke
from .store.database import Database
from .store.pages import Ids, State
from .store.params import ParsReader
from .store.replay import read_stretch
from .trial import fresh_environment


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
            tx.execute("drop_again_of", submission)
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


def run_here(
    registry: RegistryBase, ids: Ids, epoch: str, *, shown: Mapping[str, Any], external: bool
) -> None:
    """Run submitted jobs in this session and return when all have ended.

    Args:
        registry: Their registry.
        ids: The jobs in the order to run.
        epoch: The code to run them with.
        shown: Resources as the user gave them.
        external: Whether each job gets a fresh process.

    Raises:
        KeyboardInterrupt: The user interrupted; the jobs not yet run are as if never submitted.
    """
    here = Here(registry.paths, registry.database, registry.instance)
    assignment = Assignment(
        root=str(registry.paths.root),
        agent=here.agent,
        epoch=epoch,
        attempt=here.hand_out(ids),
        seed=registry.seed,
        shown=dict(shown),
    )
    reader = ParsReader()
    applied = time.monotonic()
    try:
        with interruptible() as check, (_outside if external else _inside)(assignment) as run:
            for job in ids.tolist():
                with registry.database.read() as tx:
                    _, pars = reader.slice(tx, np.array([job]))
                run(job, pars)
                check()
                if time.monotonic() - applied > APPLY_EVERY:
                    here.apply()
                    applied = time.monotonic()
    finally:
        here.apply()
        here.give_up(ids)


Run = Callable[[int, bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Hold what the jobs of one submission have in common.

    Attributes:
        root: The registry's directory.
        agent: Name under which their records are written.
        epoch: The code to run them with.
        attempt: Attempt of every job.
        seed: The registry's seed.
        shown: Resources as the user gave them.
    """

    root: str
    agent: str
    epoch: str
    attempt: int
    seed: int
    shown: Mapping[str, Any]

    @property
    def paths(self) -> RegistryPaths:
        """Return the registry's files."""
        return RegistryPaths(Path(self.root))

    @property
    def threads(self) -> tuple[int, int]:
        """Return the thread counts that the resources ask for."""
        return self.shown.get("omp_threads", 1), self.shown.get("blas_threads", 1)

    def order(self, job: int, pars: bytes) -> Order:
        """Return one job as a slot would be told to run it."""
        return Order(
            serial=1,
            chunk=0,
            attempt=self.attempt,
            ids=(job,),
            offsets=memoryview(b"\0\0\0\0" + len(pars).to_bytes(4, "little")).cast("I"),
            pars=memoryview(pars),
            isolation=Isolation.SLOT,
            seed=self.seed,
            shown=self.shown,
            measure=bool(self.shown.get("measure_memory")),
        )

    def pack(self, job: int, pars: bytes) -> bytes:
        """Return what a fresh process has to know to run one job."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        packed: bytes = msgpack.packb([fields, job, pars])
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> tuple[Self, int, bytes]:
        """Return the assignment, the job and the parameters that were packed."""
        fields, job, pars = msgpack.unpackb(data)
        return cls(**fields), job, pars


@contextmanager
def _inside(assignment: Assignment) -> Iterator[Run]:
    """Give what runs a job in this process; afterwards the process is as it was before."""
    paths = assignment.paths
    store = ObjectStore(paths.objects)
    with ExitStack() as stack:
        stack.enter_context(kept_process())
        seeder = stack.enter_context(kept_generators())
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="batchpilot-"))
        results = stack.enter_context(closing(SegmentWriter(paths.results(assignment.agent))))
        try:
            epoch = load_epoch(store, assignment.epoch)
        except EpochError as error:
            yield _refusal(assignment, results, error)
            return
        stack.enter_context(limited_threads(*assignment.threads))
        logs = stack.enter_context(closing(SegmentWriter(paths.job_logs(assignment.agent))))
        capture = Capture(Spool(Path(scratch) / "spool"), logs)
        stack.callback(capture.release)
        execution = Execution(
            epoch=epoch,
            registry=paths.root,
            slot=0,
            values=ValueReader(store),
            results=results,
            capture=capture,
            seeder=seeder,
        )
        stack.callback(execution.close)

        def run(job: int, pars: bytes) -> None:
            execution.run(assignment.order(job, pars), 0, time.time())

        yield run


def _refusal(assignment: Assignment, results: SegmentWriter, error: EpochError) -> Run:
    """Return what makes the error of the code each job's own, as an agent does."""
    body = failure_of(error).to_body()

    def run(job: int, _: bytes) -> None:
        now = time.time()
        facts = (job, assignment.attempt, Outcome.ERROR, Reason.TEMPLATE)
        results.write(pack_row((*facts, 0, 0, now, now, NO_PART, 0.0), body))

    return run


@contextmanager
def _outside(assignment: Assignment) -> Iterator[Run]:
    """Give what runs a job in a fresh process."""
    command = [sys.executable, "-P", "-m", __name__]
    environment = fresh_environment(assignment.threads)
    results = assignment.paths.results(assignment.agent)

    def run(job: int, pars: bytes) -> None:
        before = results.stat().st_size
        ended = subprocess.run(
            command, input=assignment.pack(job, pars), check=False, env=environment
        )
        if results.stat().st_size == before:
            raise SubmissionError(
                f"the process of job {job} ended with {ended.returncode} and left no record",
                remedy=f"look at it with test_job({job})",
            )

    yield run


def main() -> None:
    """Run one job: the fresh process of `Interactive(external=True)`."""
    assignment, job, pars = Assignment.unpack(sys.stdin.buffer.read())
    with _inside(assignment) as run:
        run(job, pars)


if __name__ == "__main__":
    main()
