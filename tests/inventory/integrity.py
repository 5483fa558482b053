"""What must be true of any registry at any time, whatever has been done with it.

The original's tests look at it after most of their scenarios; here it is looked at through the
public tables.
"""

from __future__ import annotations

import batchpilot as bp
from batchpilot.registry.whole import ExperimentRegistry


STATES = {"0000", "1000", "1100", "1110", "1111"}
"""Which of submitted, started, done, error may be set together."""


def check(registry: bp.Registry) -> None:
    """Fail where tables, states, tags and resources do not fit together."""
    table = registry.get_job_table()
    ids = table["job_id"].tolist()
    events = table[["submitted", "started", "done", "error"]].notna().astype(int).astype(str)

    assert ids == sorted(set(ids)) == list(registry.find_jobs())
    assert {"".join(row) for row in events.to_numpy().tolist()} <= STATES
    assert table["resources"].notna().tolist() == table["submitted"].notna().tolist()
    assert set(registry.get_used_job_tags()) == {
        tag for tags in table["tags"].dropna() for tag in tags.split(",")
    }
    assert len(registry.get_job_pars()) == len(ids) == registry.get_status().defined
    _check_times(registry)
    if isinstance(registry, ExperimentRegistry):
        _check_experiments(registry)


def _check_times(registry: bp.Registry) -> None:
    table = registry.get_job_status()
    for name in ("time_queued", "time_running"):
        assert (table[name].dropna().dt.total_seconds() >= 0).all()


def _check_experiments(registry: bp.Registry) -> None:
    table = registry.get_job_table()
    for column, known in (("problem", registry.problems), ("algorithm", registry.algorithms)):
        assert len(known) == len(set(known))
        assert set(table[column]) <= set(known)
    assert (table["repl"] >= 1).all()
