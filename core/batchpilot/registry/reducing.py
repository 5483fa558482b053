"""Define the jobs of a reduction: one fold of a function over each block of a vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from batchpilot.errors import DefinitionError
from batchpilot.functions import JOB, check_call, check_more_args, pickle_function, pickle_value
from batchpilot.ids import JobIds
from batchpilot.vectors import as_vector
from batchpilot_agent.callables import Folding

from .defining import Defining


_BLOCK = "xs"


class Reducing(Defining):
    """Define reductions."""

    def batch_reduce(
        self,
        fun: Callable[..., Any],
        xs: Any,
        init: Any = None,
        chunks: Any = None,
        more_args: Mapping[str, Any] | None = None,
    ) -> JobIds:
        """Define one job for each block of a vector: the fold of a function over it.

        A job's result is `functools.reduce(fun, block, init)`. With init None it begins with the
        first element, which is the result of a block of one (R passes NULL on to `fun`). The block
        is the job's parameter `xs`, a list.

        Args:
            fun: Called with what was folded so far and an element, then `more_args` by name; a
                parameter called `job` receives the Job.
            xs: The vector.
            init: What each job begins with.
            chunks: Number of the block of each element, such as `bp.chunk` gives; by default each
                element is a block of its own.
            more_args: Values that are the same for all calls.

        Returns:
            The ids 1..n, in the order of the blocks' numbers.

        Raises:
            DefinitionError: The registry holds jobs already, or fun cannot be called so, or there
                are not as many numbers as elements, or something cannot be pickled. Nothing was
                written.

        Example:
            >>> reg.batch_reduce(lambda a, b: a + b, range(100), chunks=bp.chunk(range(100), 10))
            JobIds(1-10)
        """
        more_args = check_more_args(more_args)
        shape = check_call(fun, 2, more_args)
        blocks = _blocks(as_vector(xs), chunks)
        pickle_function(fun)  # refused here, it is refused by its name
        begin = None if init is None else pickle_value(init, "init")
        return self._define_calls(
            Folding(fun, begin),
            {_BLOCK: blocks},
            more_args,
            positional=(_BLOCK,),
            passes_job=shape.passes_job and JOB not in more_args,
        )


def _blocks(elements: list[Any], chunks: Any) -> list[list[Any]]:
    """Return the elements in blocks, in the order of the blocks' numbers."""
    if chunks is None:
        return [[element] for element in elements]
    numbers = np.array(as_vector(chunks))
    if len(numbers) != len(elements):
        raise DefinitionError(
            f"{len(numbers)} chunk numbers for {len(elements)} elements",
            remedy="give one for each, such as bp.chunk(xs, n_chunks=10)",
        )
    if len(numbers) and (numbers.dtype.kind not in "iu" or numbers.min() < 0):
        raise DefinitionError(
            "chunks must be whole numbers, none below 0", remedy="give such as bp.chunk does"
        )
    found: dict[int, list[Any]] = {number: [] for number in sorted(set(numbers.tolist()))}
    for number, element in zip(numbers.tolist(), elements, strict=True):
        found[number].append(element)
    return list(found.values())
