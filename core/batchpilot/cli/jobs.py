"""`jobs`: a line a job, or the code of one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import click

from batchpilot.ids import JobIds, parse_selector
from batchpilot.registry.whole import ExperimentRegistry, Registry

from .code import show_code
from .lazy import Command
from .output import plain, print_document, print_table
from .screen import duration, shorten
from .snapshot import failures
from .words import Target, json_option, target_argument


STATES = ("not-submitted", "queued", "running", "done", "error", "expired")
LIMIT = 50
ROOM = 60
_IDENTITY = ("problem", "algorithm", "repl")


@click.command(cls=Command)
@target_argument()
@click.option("--state", type=click.Choice(STATES), help="Only jobs in this state.")
@click.option(
    "--limit", type=click.IntRange(min=1), help=f"How many; {LIMIT} in a table, all in JSON."
)
@click.option("--code", type=click.IntRange(min=1), metavar="ID", help="Show the code of a job.")
@click.option("--module", metavar="NAME", help="With --code: show a module of that code.")
@json_option
def jobs(  # noqa: PLR0913, PLR0917 - its options
    target: Target,
    state: str | None,
    limit: int | None,
    code: int | None,
    module: str | None,
    as_json: bool,
) -> None:
    """List jobs with their states and parameters; or show the code that one was submitted with."""
    if module and code is None:
        raise click.UsageError("--module says what of --code ID is shown; give both.")
    if code is not None:
        with target.open() as registry:
            show_code(registry, code, module, as_json=as_json)
    else:
        _list(target, state, limit, as_json=as_json)


def _list(target: Target, state: str | None, limit: int | None, *, as_json: bool) -> None:
    with target.open() as registry:
        chosen = target.jobs(registry)
        ids = registry.find_jobs() if chosen is None else chosen
        if state:
            ids &= parse_selector(f"@{state}", registry)
        shown = ids[: limit or (None if as_json else LIMIT)]
        records = _records(registry, shown)
    if as_json:
        print_document(jobs=records)
        return
    identity = _IDENTITY if isinstance(registry, ExperimentRegistry) else ()
    headers = ("id", "state", "took", *identity, "parameters", "tags", "error")
    rows = (_row(record, identity) for record in records)
    print_table(headers, rows, right=("id", "took", "repl"))
    if len(shown) < len(ids):
        click.echo(f"The first {len(shown)} of {len(ids)}; more with --limit.", err=True)


def _records(registry: Registry, ids: JobIds) -> list[dict[str, Any]]:
    """Return what is told of jobs, as the JSON has it."""
    states = {job: state for state in STATES for job in ids & parse_selector(f"@{state}", registry)}
    why = dict(failures(registry, among=ids))
    rows = registry.get_job_table(ids).to_dict("records")
    return [_record(row, states[row["job_id"]], why.get(row["job_id"])) for row in rows]


def _record(row: Mapping[Any, Any], state: str, why: str | None) -> dict[str, Any]:
    return {
        "job_id": row["job_id"],
        "state": state,
        "name": plain(row["job_name"]),
        "submitted": plain(row["submitted"]),
        "started": plain(row["started"]),
        "ended": plain(row["done"]),
        "seconds_queued": _seconds(row["time_queued"]),
        "seconds_running": _seconds(row["time_running"]),
        "error": why,
        "agent": plain(row["batch_id"]),
        **_pars(row),
        "resources": plain(row["resources"]),
        "tags": (plain(row["tags"]) or "").split(",") if plain(row["tags"]) else [],
    }


def _pars(row: Mapping[Any, Any]) -> dict[str, Any]:
    if "job_pars" in row:
        return {"pars": plain(row["job_pars"])}
    pars = {name: plain(row[name]) for name in ("prob_pars", "algo_pars")}
    return {**{name: plain(row[name]) for name in _IDENTITY}, "pars": pars}


def _seconds(time: Any) -> float | None:
    seconds = float(time.total_seconds())
    return seconds if math.isfinite(seconds) else None


def _row(record: dict[str, Any], identity: Sequence[str]) -> list[str]:
    pars = record["pars"] or {}
    given = (pars["prob_pars"], pars["algo_pars"]) if identity else (pars,)
    shown = ", ".join(f"{name}={value}" for values in given for name, value in values.items())
    took = record["seconds_running"]
    return [
        str(record["job_id"]),
        record["state"],
        "" if took is None else duration(took),
        *(str(record[name]) for name in identity),
        shorten(shown, ROOM),
        ",".join(record["tags"]),
        shorten(" ".join((record["error"] or "").split()), ROOM),
    ]
