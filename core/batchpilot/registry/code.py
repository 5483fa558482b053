"""The code that jobs run: what was stored with their submission, whatever the files hold by now."""

from __future__ import annotations

from typing import Any

import numpy as np

from batchpilot.errors import CodeMissing
from batchpilot.sources import Code, read_code
from batchpilot.store.experiments import KIND, names_of_job

from .selecting import Selecting


class Coding(Selecting):
    """Show the code of jobs."""

    def get_code(self, id: Any) -> dict[str, str]:  # noqa: A002 - the name that users know
        """Return the modules of the code that a job was submitted with, name by name.

        These are all that were loaded outside the standard library and installed libraries, as
        they were then; those without source (extensions) are left out.

        Args:
            id: The job.

        Raises:
            JobsNotFound: There is no such job.
            CodeMissing: It is not submitted.

        Example:
            >>> print(reg.get_code(3)["simulation"])
        """
        modules = self.read_code(id).modules
        return {module.name: module.source for module in modules if module.source is not None}

    def read_code(self, id: Any) -> Code:  # noqa: A002 - as above
        """Return all that is kept of the code of a job, its function among it.

        Raises:
            JobsNotFound: There is no such job.
            CodeMissing: It is not submitted.
        """
        with self._db.read() as tx:
            job = self._one(tx, id)
            submission = int(tx.pages.take("submission", np.array([job]))[0])
            facts = tx.execute("submission_facts", submission).fetchone()
            names = names_of_job(tx, job) if self.kind == KIND else ()
        if facts is None:
            raise CodeMissing(
                f"there is no code of job {job}: it is not submitted",
                remedy="submit it; its code is stored with each submission",
            )
        return read_code(self.objects, facts[1], *names)
