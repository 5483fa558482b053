"""Run one job for a look, in this process or in a fresh one; its state is not touched."""

from __future__ import annotations

from typing import Any

import numpy as np

from batchpilot.dependencies import UnwrittenObjects
from batchpilot.trial import call_here, call_outside, threads_of

from .nouns import make_job
from .selecting import Selecting
from .submitting import Submitting


class Testing(Submitting, Selecting):
    """Try jobs out."""

    __test__ = False  # pytest: a name for users, no tests

    def test_job(self, id: Any, external: bool = False) -> Any:  # noqa: A002, PT028 - the names and default of the public page
        """Run one job and return its result; the registry is not changed.

        It runs in the registry's work_dir with the job's seeds; the session's own random numbers
        go on afterwards as if nothing had run. An exception arrives here with its traceback, so a
        debugger can be used. In this process the hash seed and the thread counts are the
        session's own, which an agent's job has fixed: `external` fixes them too. Of an experiment
        the instance is made anew, also where agents keep it.

        Args:
            id: The job.
            external: Run it in a fresh Python process.

        Raises:
            JobsNotFound: There is no such job.
            JobFailed: `external` only: it raised, or its process died.

        Example:
            >>> reg.test_job(1)
        """
        with self._db.read() as tx:
            job, values = make_job(tx, self, self._one(tx, id))
        if external:
            return call_outside(self.paths, job.id, threads_of(job))
        objects = UnwrittenObjects(self.paths.objects)
        code = (self._definition(np.array([job.id])), self._dependencies(objects))
        return call_here(code, objects, self.work_dir, job, values)
