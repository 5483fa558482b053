"""Call the function of one job outside of any agent: what `test_job` does."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchpilot.errors import BatchpilotError, DefinitionError, JobFailed
from batchpilot_agent.errors import ImportFailed
from batchpilot_agent.job import Job
from batchpilot_agent.manifest import Dependencies
from batchpilot_agent.objects import ObjectStore
from batchpilot_agent.pilot.templates import template_environment
from batchpilot_agent.slot.dependencies import kept_builtins, overrule, provide
from batchpilot_agent.slot.epoch import make_call
from batchpilot_agent.slot.experiment import read_experiments
from batchpilot_agent.slot.seeds import Seeder, kept_generators
from batchpilot_agent.slot.threads import limited_threads
from batchpilot_broker.paths import RegistryPaths


if TYPE_CHECKING:
    from batchpilot.epochs import Definition


_Call = Callable[[tuple[Any, ...], Job, Seeder], Any]

OUTSIDE = "batchpilot.outside"
"""The program that runs one job in a fresh process."""


def call_here(
    code: tuple[Definition, Dependencies],
    objects: ObjectStore,
    work_dir: Path,
    job: Job,
    values: tuple[Any, ...],
) -> Any:
    """Call a job's function in this process, seeded; the generators are given back afterwards.

    Of an experiment the instance is made here, kept ones are not looked at.

    Args:
        code: The function, and what it depends on.
        objects: The registry's objects.
        work_dir: Where it is called.
        job: The job.
        values: Its parameters; of an experiment, the job has them.

    Raises:
        DefinitionError: The function cannot be loaded here, or the working directory is gone.
        ImportFailed: A package or a source file fails here.
    """
    if not work_dir.is_dir():
        raise DefinitionError(
            f"the working directory {work_dir} is gone", remedy="make it again, then try again"
        )
    with chdir(work_dir), kept_builtins():
        exports = provide(objects, code[1])
        call = _load(code[0], objects, exports)
        with kept_generators() as seeder, limited_threads(*threads_of(job)):
            return call(values, job, seeder)


def threads_of(job: Job) -> tuple[int, int]:
    """Return the thread counts of a job."""
    return job.resources.get("omp_threads", 1), job.resources.get("blas_threads", 1)


def call_outside(paths: RegistryPaths, job: int, threads: tuple[int, int] = (1, 1)) -> Any:
    """Call a job's function in a fresh Python process and return its result.

    Raises:
        JobFailed: It raised, or its process died; its traceback is on stderr.
    """
    out, result = os.pipe()
    try:
        command = [sys.executable, "-P", "-m", OUTSIDE, str(paths.root), str(job), str(result)]
        process = subprocess.Popen(command, env=fresh_environment(threads), pass_fds=(result,))
    finally:
        os.close(result)
    with os.fdopen(out, "rb") as pipe:
        data = pipe.read()
    code = process.wait()
    if code != 0 or not data:
        raise JobFailed(
            f"test_job() failed for job with id={job} (exit code {code}, see its output above)",
            remedy="to properly debug, re-run with external=False",
            job=job,
        )
    return pickle.loads(data)  # noqa: S301 - from the process started above


def _load(definition: Definition, objects: ObjectStore, exports: Mapping[str, Any]) -> _Call:
    try:
        if not definition.function:
            return _experiment(definition, objects, exports)
        return _map(definition, objects, exports)
    except ImportFailed as error:
        raise _not_here(error.__cause__ or error) from error.__cause__
    except BatchpilotError:
        raise
    except Exception as error:  # a user's module may raise anything while it is imported
        raise _not_here(error) from error


def _map(definition: Definition, objects: ObjectStore, exports: Mapping[str, Any]) -> _Call:
    function = pickle.loads(objects.get(definition.function))  # noqa: S301 - compared with its hash
    static = (
        pickle.loads(objects.get(definition.more_args))  # noqa: S301 - as above
        if definition.more_args
        else {}
    )
    overrule(function, exports)
    call = make_call(
        function,
        names=definition.names,
        positional=definition.positional,
        passes_job=definition.passes_job,
        more_args=((), static) if isinstance(static, dict) else static,
    )

    def seeded(values: tuple[Any, ...], job: Job, seeder: Seeder) -> Any:
        seeder.seed(job.seed)
        return call(values, job)

    return seeded


def _experiment(definition: Definition, objects: ObjectStore, exports: Mapping[str, Any]) -> _Call:
    experiments = read_experiments(objects, definition.problems, definition.algorithms)()
    for function in experiments.functions:
        overrule(function, exports)
    return lambda _, job, seeder: experiments.run(job, seeder.seed)


def _not_here(error: BaseException) -> DefinitionError:
    return DefinitionError(
        f"the jobs' function cannot be loaded here: {type(error).__name__}: {error}",
        remedy="make the modules it comes from importable in this session (sys.path)",
    )


def fresh_environment(threads: tuple[int, int] = (1, 1)) -> dict[str, str]:
    """Return this session's environment with its import path, and what an agent fixes for jobs."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109 - as Python reads ""
    return {**template_environment({}, threads), "PYTHONPATH": path}
