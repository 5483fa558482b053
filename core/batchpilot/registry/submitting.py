"""Submit jobs: mark them queued under the code of now, and see that a coordinator runs.

Everything is checked before anything is written: what a call refuses is as if never asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import msgpack
import numpy as np

from batchpilot import control, pools
from batchpilot.asking import by_owner
from batchpilot.epochs import Definition, store_epoch
from batchpilot.errors import DefinitionError, SubmissionError
from batchpilot.ids import JobIds, coerce_ids
from batchpilot.interactive import run_here
from batchpilot.lots import Lot, lots_of
from batchpilot.resources import check_servable, make_class, merge_resources
from batchpilot.retries import Retries, check_growth, checked_retries
from batchpilot.store.changing import revoke
from batchpilot.store.gates import states_of
from batchpilot.store.pages import LIVE_STATES, Ids, State, read_column
from batchpilot.store.tombstones import entomb

from .configuring import Configuring
from .enlisting import Entry, enlist, predecessors


class Submitting(Configuring):
    """Submit jobs and choose the pools that run them."""

    @property
    def pools(self) -> list[pools.Pool]:
        """Return the pools; assigning checks and stores them."""
        with self._db.read() as tx:
            stored = tx.meta("pools")
        return pools.from_records(json.loads(stored)) if stored else [pools.Local()]

    @pools.setter
    def pools(self, value: pools.Pool | Sequence[pools.Pool]) -> None:
        self._set("pools", pools.to_records(pools.check_pools(value)))
        self._nudge()

    def submit_jobs(  # noqa: PLR0913 - its options
        self,
        ids: Any = None,
        resources: Mapping[str, Any] | None = None,
        *,
        priority: int = 0,
        after: Any = None,
        retries: Retries = None,
        max_concurrent_jobs: int | None = None,
    ) -> JobIds:
        """Queue jobs, in the order given, for the agents of this registry's pools.

        The code they run is the code of now: function, and every loaded module outside the
        standard library and site-packages. Jobs that are done, failed or expired may be submitted
        again; their old results are forgotten.

        Args:
            ids: Jobs, by default all that are not submitted. In a table, jobs of one number in the
                column `chunk` run one after another in one slot, and columns named like resources
                hold those of each job.
            resources: `walltime` (s), `memory` (MB), `ncpus`, `gpus`, `omp_threads`,
                `blas_threads`, `measure_memory`, `pool`, `isolation`; other names are variables of
                job scripts. They go before the registry's `default_resources`; None takes one away.
            priority: Larger runs earlier.
            after: Jobs that must be done first; they are on the system or done. Where one fails,
                these jobs expire.
            retries: How often a job whose function raises is tried again; or a number for each of
                `error`, `memory` and `walltime`, whose limit a job that exceeds it gets doubled.
            max_concurrent_jobs: From now on at most so many jobs of the registry run at once; by
                default that stays as it is.

        Returns:
            The jobs submitted.

        Raises:
            SubmissionError: Some are on the system already, a value is impossible, or a job to wait
                for will never be done.
            NoSuchPool: No pool can ever serve the resources.

        Example:
            >>> reg.submit_jobs(resources={"walltime": 3600, "memory": 2000}, retries={"memory": 2})
        """
        self._check_writeable()
        order = self._submittable(ids)
        given = merge_resources(self.default_resources, resources)
        tries = checked_retries(retries)
        entries = [self._entry(lot, priority, tries) for lot in lots_of(ids, order, given)]
        waited_for = self._predecessors(after, order)
        if isinstance(self.pools[0], pools.Interactive):
            self._check_here()
        if max_concurrent_jobs is not None:
            self.max_concurrent_jobs = max_concurrent_jobs
        if not len(order):
            return JobIds([])
        with self._storing():
            epoch = self._store_epoch(order)
            made = [replace(entry, epoch=epoch, after=waited_for) for entry in entries]
            self._enlist([entry.to_wire() for entry in made])
        if isinstance(pool := self.pools[0], pools.Interactive):
            self._run_here(made, external=pool.external)
        else:
            self._ensure_coordinator()
            self._nudge()
        return JobIds(np.sort(order))

    def _entry(self, lot: Lot, priority: int, tries: Mapping[str, int]) -> Entry:
        """Return a submission that some pool can serve, its retries too."""
        needed = make_class(lot.resources, priority)
        configured = self.pools
        check_servable(needed, configured)
        if tries:
            check_growth(tries, lot.resources, needed, configured)
        packed = msgpack.packb(dict(tries)) if tries else b""
        return Entry(lot=lot, needed=needed, epoch="", retries=packed)

    def _predecessors(self, after: Any, order: Ids) -> Ids:
        with self._db.read() as tx:
            found = predecessors(tx, after, order)
            live = found[np.isin(states_of(tx, found), LIVE_STATES)]
        if len(live) and isinstance(self.pools[0], pools.Interactive):
            raise SubmissionError(
                f"job {live[0]} is not done, and jobs of pool Interactive run at once",
                remedy="submit it when that job is done",
            )
        return found

    def _run_here(self, entries: Sequence[Entry], *, external: bool) -> None:
        """Run submissions in this session, and what may be tried again until no try is left."""
        try:
            for entry in entries:
                left = entry.lot.ids
                while len(left):
                    run_here(
                        self,
                        left,
                        entry.epoch,
                        shown=dict(entry.lot.resources),
                        external=external,
                    )
                    entomb(self._db)
                    left = self._still_queued(entry.lot.ids)
        except BaseException:
            with self._changing() as tx:
                for entry in entries:
                    revoke(tx, self._still_queued(entry.lot.ids))
            raise

    def _still_queued(self, ids: Ids) -> Ids:
        with self._db.read() as tx:
            left: Ids = ids[tx.pages.take("state", ids) == State.QUEUED]
        return left

    def _submittable(self, ids: Any) -> Ids:
        with self._db.read() as tx:
            order = coerce_ids(
                ids,
                states=partial(states_of, tx),
                default=lambda: np.flatnonzero(read_column(tx.db, "state") == State.DEFINED) + 1,
                keep_order=True,
            )
            busy = order[np.isin(states_of(tx, order), LIVE_STATES)]
        if len(busy):
            raise SubmissionError(
                f"{len(busy)} of the jobs are on the system already, e.g. {busy[0]}",
                remedy="wait for them, or kill them first with kill_jobs(...)",
            )
        return order

    def _definition(self, ids: Ids | None = None) -> Definition:  # noqa: ARG002 - a map has one for all
        """Return what jobs call: those that are submitted, None for any."""
        with self._db.read() as tx:
            packed = tx.meta("definition")
        if packed is None:
            raise DefinitionError(
                "there are no jobs", remedy="define them first with batch_map(...)"
            )
        return Definition.from_wire(msgpack.unpackb(packed))

    def _store_epoch(self, ids: Ids | None = None) -> str:
        """Store the code of now for the jobs that are submitted; return the epoch."""
        with self._db.read() as tx:
            first = tx.meta("epoch")
        return store_epoch(
            self.objects,
            self._definition(ids),
            work_dir=self.work_dir,
            first=first,
            dependencies=self._dependencies(),
        )

    @by_owner
    def _enlist(self, entries: Sequence[Sequence[Any]]) -> None:
        """Write submissions that came as lists; see `Entry.to_wire`."""
        enlist(self._changing, [Entry.from_wire(entry) for entry in entries])

    def _ensure_coordinator(self) -> None:
        """See that a coordinator is in office, or coming; Interactive registries need none."""
        if not self.writeable or isinstance(self.pools[0], pools.Interactive):
            return
        if self.paths.seat.exists() or not self._left_to_owner():
            control.ensure(self.paths)

    @cached_property
    def _nudger(self) -> control.Nudger:
        return control.Nudger(self.paths, self.instance)

    def _nudge(self) -> None:
        """Tell a coordinator, if one is in office, that something has changed."""
        self._nudger.nudge()
