"""Bound the threads of native libraries that are loaded, whatever the environment said then.

The environment of a template bounds what is loaded in it. But a module may set `OMP_NUM_THREADS`
itself before it imports numpy, and in a user's own session numpy was there before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


def limit_threads(omp: int, blas: int) -> None:
    """Bound OpenMP and BLAS libraries in this process, where there can be any."""
    if "numpy" in sys.modules:  # nobody loads a BLAS without it; the import below takes 20 ms
        from threadpoolctl import threadpool_limits  # noqa: PLC0415 - as said

        threadpool_limits({"openmp": omp, "blas": blas})


@contextmanager
def limited_threads(omp: int, blas: int) -> Iterator[None]:
    """Bound them until the end: for jobs run in the user's own process."""
    if "numpy" not in sys.modules:
        yield
        return
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - as above

    with threadpool_limits({"openmp": omp, "blas": blas}):
        yield
