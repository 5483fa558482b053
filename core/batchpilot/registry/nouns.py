"""The Job of a registered job, as its function would see it, made in this process."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np

from batchpilot.store.database import Transaction
from batchpilot.store.rows import ParameterRows
from batchpilot_agent.job import Job
from batchpilot_agent.slot.seeds import job_seed

from .base import RegistryBase


def make_job(tx: Transaction, registry: RegistryBase, job: int) -> tuple[Job, tuple[Any, ...]]:
    """Return the Job with an id, and its values in the order of the registry's names."""
    ids = np.array([job])
    reader = ParameterRows(tx, registry.objects)
    (values,) = reader.rows(ids)
    submission = tx.execute("submission_facts", int(tx.pages.take("submission", ids)[0])).fetchone()
    noun = Job(
        id=job,
        attempt=int(tx.pages.take("attempt", ids)[0]),
        pars=dict(zip(reader.names, values, strict=True)),
        resources=msgpack.unpackb(submission[2]) if submission else {},
        seed=job_seed(registry.seed, job),
        stream=(registry.seed, (0, job)),
        registry=registry.file_dir,
    )
    return noun, values
