"""Tidy up a registry: take away what nobody needs, begin anew, remove everything.

What is done, failed or submitted stays as it is: a sweep never touches a result or a log.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgpack
import numpy as np

from batchpilot import control
from batchpilot.errors import RegistryError, SubmissionError
from batchpilot.store.adoption import make_another
from batchpilot.store.allocations import pilots_alive
from batchpilot.store.database import Transaction
from batchpilot.store.experiments import KIND
from batchpilot.store.locks import locked
from batchpilot.store.owner import read_owner
from batchpilot.store.pages import LIVE_STATES, State, read_column
from batchpilot.store.tidying import empty, object_names, remove
from batchpilot_broker.host import on_network

from .submitting import Submitting


YOUNG_SECONDS = 3600.0
_WITHOUT_NAMES = ("page", "experiment", "outcome", "span", "held_span", "gate", "again", "chunk")
_CLEARED = (
    *("page", "pars", "class", "submission", "span", "chunk", "again", "segment", "outcome"),
    *("held_span", "gate", "running", "agent", "element", "allocation", "cancel", "tag", "name"),
    *("definition", "experiment"),
)
_DEFINITION = ("definition", "big_pars")
_OF_A_MAP = ("names", "hidden", "epoch")


class Sweeping(Submitting):
    """Take away what nobody needs."""

    def sweep(self) -> bool:
        """Take away what no job needs any more.

        That is: external directories of jobs that are not submitted, code and data that no
        submission in force names, kept instances of problems, tags and names of jobs that are
        gone, logs and allocations of agents that have left. Results and logs of jobs stay.

        Returns:
            True.

        Raises:
            SubmissionError: Jobs are queued or running.
            ReadOnly: The registry is open for reading only.
        """
        self._check_here()
        with locked(self.paths.objects, alone=True):
            with self._changing() as tx:
                self._refuse_busy(tx)
                _forget_unused(tx)
                states = read_column(tx.db, "state")
                named = set(self._named(tx))
                ended, live = _agents(tx, "ended_agents"), _agents(tx, "live_agents")
                live |= {f"element {p.allocation}": p.allocation for p in pilots_alive(tx)}
            self._drop_objects(named)
        remove(self.paths.cache)
        self._drop_external(np.flatnonzero(states <= State.DEFINED) + 1, beyond=len(states))
        self._drop_agents(ended, live)
        return True

    def clear(self) -> None:
        """Forget all jobs and what became of them; seed, pools, exports and settings stay.

        Of experiments the problems and algorithms stay, too.

        Coordinator, agents and broker end. Then jobs can be defined anew, from id 1; as what runs
        somewhere for the old ones must never reach the new ones, the registry becomes another
        instance.

        Raises:
            SubmissionError: Jobs are queued or running.
            ReadOnly: The registry is open for reading only.
        """
        self._check_here()
        with self._db.read() as tx:
            self._refuse_busy(tx)
        self._end_daemons()
        make_another(self.paths)
        self.instance = read_owner(self.paths).instance
        self.__dict__.pop("_nudger", None)
        for directory in (self.paths.segments, self.paths.allocations, self.paths.logs):
            empty(directory)
        remove(self.paths.external)
        with self._changing() as tx:
            for table in _CLEARED:
                tx.db.execute(f"DELETE FROM {table}")  # noqa: S608 - a table of ours
            for key in (*_DEFINITION, *(() if self.kind == KIND else _OF_A_MAP)):
                tx.set_meta(key, None)
            tx.set_meta("last_job", 0)
            tx.set_meta("stream", "0")
        empty(self.paths.backup)
        self._db.try_to_back_up()
        self.sweep()

    def remove(self) -> Path:
        """Remove the registry with all results, after ending what runs for it.

        Returns:
            The directory that is gone.

        Raises:
            SubmissionError: Jobs are queued or running.
            RegistryMissing: There is no registry any more.
            RegistryError: Another registry is there.
            ReadOnly: The registry is open for reading only.
        """
        self._check_here()
        if read_owner(self.paths).instance != self.instance:
            raise RegistryError(
                f"{self.paths.root} has become another registry",
                remedy="load it with bp.load_registry(...), and remove that if you mean it",
            )
        with self._db.read() as tx:
            self._refuse_busy(tx)
        self._end_daemons()
        self.close()
        remove(self.paths.root.resolve())
        self.paths.root.unlink(missing_ok=True)  # a link to it
        return self.paths.root

    def _refuse_busy(self, tx: Transaction) -> None:
        busy = int(np.isin(read_column(tx.db, "state"), LIVE_STATES).sum())
        if busy:
            raise SubmissionError(
                f"this operation is not allowed while {busy} jobs are on the system",
                remedy="wait for them, or kill them first with kill_jobs()",
            )

    def _end_daemons(self) -> None:
        control.stop(self.paths)
        control.discard_broker(self.paths)

    def _named(self, tx: Transaction) -> Iterator[str]:
        """Yield the objects that the database names, and what the epochs among them name."""
        tables = [name for (name,) in tx.all("tables") if name not in _WITHOUT_NAMES]
        found = {name for table in tables for name in _names_in(tx, table)}
        yield from found
        for (epoch,) in tx.all("epochs"):
            if epoch and self.objects.has(epoch):
                yield from object_names(self.objects.get(epoch))

    def _drop_objects(self, named: set[str]) -> None:
        """Remove objects without a name, and what an interrupted session has left half-written.

        Where other hosts may be storing some now, whom no lock holds back, young ones stay.
        """
        shared = on_network(self.paths.objects)
        oldest = time.time() - YOUNG_SECONDS if shared else math.inf
        for path in self.paths.objects.iterdir():
            if path.name not in named and path.stat().st_mtime < oldest:
                path.unlink()

    def _drop_external(self, ids: np.ndarray[tuple[int], np.dtype[np.int64]], beyond: int) -> None:
        if not self.paths.external.is_dir():
            return
        unsubmitted = set(ids.tolist())
        for path in self.paths.external.iterdir():
            if path.name.isdecimal() and (int(path.name) in unsubmitted or int(path.name) > beyond):
                remove(path)

    def _drop_agents(self, ended: Mapping[str, str], live: Mapping[str, str]) -> None:
        """Remove the logs of agents that have left, and allocations all whose agents have."""
        for agent in ended:
            remove(self.paths.agent_log(agent))
        for allocation in {*ended.values()} - {*live.values(), ""}:
            remove(self.paths.allocations / allocation)


def _forget_unused(tx: Transaction) -> None:
    """Forget submissions that no job is of, and words about jobs that are gone."""
    for what in ("spans", "held", "gates", "again"):  # of jobs that were killed: none is queued
        tx.execute(f"forget_{what}")
    used = set(np.unique(read_column(tx.db, "submission")).tolist())
    for (number,) in tx.all("submissions"):
        if number not in used:
            tx.execute("drop_submission", number)
    labelled = {row[0] for row in (*tx.all("all_tags"), *tx.all("all_names"))}
    absent = np.flatnonzero(read_column(tx.db, "state") == State.ABSENT) + 1
    for job in labelled.intersection(absent.tolist()):
        tx.execute("drop_tags", job)
        tx.execute("drop_name", job)


def _agents(tx: Transaction, statement: str) -> dict[str, str]:
    """Return agents, each with its allocation."""
    infos = {agent: msgpack.unpackb(info) if info else {} for agent, info in tx.all(statement)}
    return {agent: info.get("allocation", "").partition(".")[0] for agent, info in infos.items()}


def _names_in(tx: Transaction, table: str) -> Iterator[str]:
    for row in tx.db.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 - a name from the schema
        for value in row:
            if isinstance(value, str | bytes):
                data = value.encode() if isinstance(value, str) else value
                yield from object_names(data)
