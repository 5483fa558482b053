"""`python -m batchpilot.outside DIR JOB FD`: the fresh process of `test_job(id, external=True)`.

It sends what came of the job through the pipe FD and leaves stdout and stderr to the job.
"""

from __future__ import annotations

import os
import sys
import traceback

from batchpilot.registry.whole import open_registry
from batchpilot_agent.slot.values import ResultPickler


def main(words: list[str]) -> int:
    """Run one job and send its result through a pipe; return the exit code."""
    directory, job, fd = words
    with open_registry(directory, writeable=False) as registry:
        try:
            result = ResultPickler().dumps(registry.test_job(int(job)))
        except BaseException:  # noqa: BLE001 - a user's function may raise anything
            traceback.print_exc()
            return 1
    with os.fdopen(int(fd), "wb") as pipe:
        pipe.write(result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
