"""Submit jobs: mark them queued under the code of now, and see that a coordinator runs.

A submission is written in short transactions of at most 100,000 jobs, so that events and leases
go on meanwhile.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import msgpack
import numpy as np

from batchpilot import control, pools
from batchpilot.asking import by_owner
from batchpilot.epochs import Definition, store_epoch
from batchpilot.errors import DefinitionError, SubmissionError
from batchpilot.ids import JobIds, coerce_ids
from batchpilot.interactive import run_here
from batchpilot.resources import (
    check_servable,
    class_id,
    make_class,
    merge_resources,
    pack,
)
from batchpilot.store.changing import revoke
from batchpilot.store.database import Transaction
from batchpilot.store.pages import LIVE_STATES, Ids, State, read_column
from batchpilot_broker.nouns import ResourceClass

from .configuring import Configuring


BLOCK = 100_000


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

    def submit_jobs(
        self,
        ids: Any = None,
        resources: Mapping[str, Any] | None = None,
        *,
        priority: int = 0,
        max_concurrent_jobs: int | None = None,
    ) -> JobIds:
        """Queue jobs, in the order given, for the agents of this registry's pools.

        The code they run is the code of now: function, and every loaded module outside the
        standard library and site-packages. Jobs that are done, failed or expired may be submitted
        again; their old results are forgotten.

        Args:
            ids: Jobs, by default all that are not submitted.
            resources: `walltime` (s), `memory` (MB), `ncpus`, `gpus`, `omp_threads`,
                `blas_threads`, `measure_memory`, `pool`, `isolation`; other names are variables of
                job scripts. They go before the registry's `default_resources`; None takes one away.
            priority: Larger runs earlier.
            max_concurrent_jobs: From now on at most so many jobs of the registry run at once; by
                default that stays as it is.

        Returns:
            The jobs submitted.

        Raises:
            SubmissionError: Some are on the system already, or a resource has an impossible value.
            NoSuchPool: No pool can ever serve the resources.

        Example:
            >>> reg.submit_jobs(resources={"walltime": 3600})
        """
        self._check_writeable()
        order = self._submittable(ids)
        given = merge_resources(self.default_resources, resources)
        needed = make_class(given, priority)
        configured = self.pools
        check_servable(needed, configured)
        if isinstance(configured[0], pools.Interactive):
            self._check_here()
        if max_concurrent_jobs is not None:
            self.max_concurrent_jobs = max_concurrent_jobs
        if not len(order):
            return JobIds([])
        with self._storing():
            epoch = self._store_epoch()
            self._write_submission(order, needed, given, epoch)
        if isinstance(configured[0], pools.Interactive):
            run_here(self, order, epoch, shown=given, external=configured[0].external)
        else:
            self._ensure_coordinator()
            self._nudge()
        return JobIds(np.sort(order))

    def _submittable(self, ids: Any) -> Ids:
        with self._db.read() as tx:
            states = read_column(tx.db, "state")
        default = np.flatnonzero(states == State.DEFINED) + 1
        order = coerce_ids(ids, states=states, default=default, keep_order=True)
        busy = order[np.isin(states[order - 1], LIVE_STATES)]
        if len(busy):
            raise SubmissionError(
                f"{len(busy)} of the jobs are on the system already, e.g. {busy[0]}",
                remedy="wait for them, or kill them first with kill_jobs(...)",
            )
        return order

    def _definition(self) -> Definition:
        with self._db.read() as tx:
            packed = tx.meta("definition")
        if packed is None:
            raise DefinitionError(
                "there are no jobs", remedy="define them first with batch_map(...)"
            )
        return Definition.from_wire(msgpack.unpackb(packed))

    def _store_epoch(self) -> str:
        with self._db.read() as tx:
            first = tx.meta("epoch")
        return store_epoch(
            self.objects,
            self._definition(),
            work_dir=self.work_dir,
            first=first,
            dependencies=self._dependencies(),
        )

    @by_owner
    def _write_submission(
        self, order: Ids, needed: ResourceClass, given: Mapping[str, Any], epoch: str
    ) -> None:
        name = class_id(needed)
        with self._changing() as tx:
            tx.execute("add_class", name, msgpack.packb(needed.to_wire()))
            number = tx.execute(
                "add_submission", time.time(), name, epoch, pack(given), needed.priority, b""
            ).lastrowid
            _queue(tx, order[:BLOCK], int(number or 0), name)
        for start in range(BLOCK, len(order), BLOCK):
            with self._changing() as tx:
                _queue(tx, order[start : start + BLOCK], int(number or 0), name)

    def _ensure_coordinator(self) -> None:
        """See that a coordinator is in office, or coming; Interactive registries need none."""
        here = self.writeable and not isinstance(self.pools[0], pools.Interactive)
        if here and not self._left_to_owner():
            control.ensure(self.paths)

    @cached_property
    def _nudger(self) -> control.Nudger:
        return control.Nudger(self.paths, self.instance)

    def _nudge(self) -> None:
        """Tell a coordinator, if one is in office, that something has changed."""
        self._nudger.nudge()


def _queue(tx: Transaction, ids: Ids, submission: int, class_name: str) -> None:
    states = tx.pages.take("state", ids)
    taken = ids[np.isin(states, LIVE_STATES) | (states == State.ABSENT)]
    if len(taken):
        raise SubmissionError(
            f"another session has taken {len(taken)} of the jobs meanwhile, e.g. {taken[0]}",
            remedy="look with get_status(), then submit the rest",
        )
    revoke(tx, ids)
    tx.pages.put("submission", ids, submission)
    tx.pages.put("state", ids, State.QUEUED)
    contiguous = bool((np.diff(ids) == 1).all())
    blob = None if contiguous else ids.astype("<u4").tobytes()
    tx.execute("add_span", submission, class_name, int(ids[0]), len(ids), blob)
