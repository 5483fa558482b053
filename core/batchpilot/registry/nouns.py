"""The Job of a registered job, as its function would see it, made in this process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import numpy as np

from batchpilot.store.database import Transaction
from batchpilot.store.experiments import KIND, read_problems
from batchpilot.store.rows import ParameterRows
from batchpilot_agent.job import Job
from batchpilot_agent.slot.seeds import instance_seed, job_seed

from .base import RegistryBase


def make_job(tx: Transaction, registry: RegistryBase, job: int) -> tuple[Job, tuple[Any, ...]]:
    """Return the Job with an id, and the values that its function is called with.

    An experiment's Job is that of its algorithm.
    """
    ids = np.array([job])
    reader = ParameterRows(tx, registry.objects, whole=True)
    (values,) = reader.rows(ids)
    submission = tx.execute("submission_facts", int(tx.pages.take("submission", ids)[0])).fetchone()
    noun = Job(
        id=job,
        attempt=int(tx.pages.take("attempt", ids)[0]),
        pars=dict(zip(reader.names, values, strict=False)),  # the hidden ones stand behind
        resources=msgpack.unpackb(submission[2]) if submission else {},
        seed=job_seed(registry.seed, job),
        stream=(registry.seed, (0, job)),
        registry=registry.file_dir,
    )
    return (_experiment(tx, noun, values) if registry.kind == KIND else noun), values


def _experiment(tx: Transaction, job: Job, values: tuple[Any, ...]) -> Job:
    problem, prob_pars, algorithm, algo_pars, repl = values
    seed = read_problems(tx)[problem][0].seed
    return replace(
        job,
        pars={"prob_pars": prob_pars, "algo_pars": algo_pars},
        repl=repl,
        instance_seed=instance_seed(seed, repl, job.seed),
        problem=problem,
        algorithm=algorithm,
    )
