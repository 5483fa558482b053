"""`submit`, `wait`, `kill`, `reset`: what changes the course of jobs."""

from __future__ import annotations

import json
from typing import Any

import click

from batchpilot.chunking import chunk as divide
from batchpilot.ids import JobIds, parse_selector
from batchpilot.registry.whole import Registry
from batchpilot.status import Status

from .failures import FAILED, OK, TIMED_OUT
from .lazy import Command
from .words import Target, target_argument


class Resource(click.ParamType[tuple[str, Any]]):
    """Read NAME=VALUE: a number, true or false where the value is one, else text."""

    name = "NAME=VALUE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        """Return the name and the value."""
        name, equals, text = str(value).partition("=")
        if not (name.isidentifier() and equals):
            self.fail(f"{value!r} is not NAME=VALUE, e.g. walltime=3600", param, ctx)
        try:
            read = json.loads(text)
        except ValueError:
            read = text
        return name, read if isinstance(read, int | float) else text


class Tries(click.ParamType[tuple[str, int]]):
    """Read N, or KIND=N: tries after an error, or after a failure of a kind."""

    name = "[KIND=]N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Return the kind and the number."""
        kind, equals, text = str(value).rpartition("=")
        if not text.isdecimal() or (equals and not kind):
            self.fail(f"{value!r} is neither a number nor KIND=N, e.g. memory=2", param, ctx)
        return kind or "error", int(text)


@click.command(cls=Command)
@target_argument()
@click.option(
    "-r",
    "--resource",
    "resources",
    multiple=True,
    type=Resource(),
    help="walltime=3600, ncpus=2, ...",
)
@click.option("--priority", default=0, show_default=True, help="Larger runs earlier.")
@click.option("--after", metavar="IDS", help="Wait until these jobs are done.")
@click.option(
    "--retries",
    multiple=True,
    type=Tries(),
    help="2 tries more after an error; memory=2 or walltime=2: each with the limit doubled.",
)
@click.option(
    "--chunk",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run N jobs at a time one after another in one slot.",
)
def submit(  # noqa: PLR0913, PLR0917 - its options
    target: Target,
    resources: tuple[tuple[str, Any], ...],
    priority: int,
    after: str | None,
    retries: tuple[tuple[str, int], ...],
    chunk: int | None,
) -> None:
    """Submit jobs, by default all that are not submitted."""
    with target.open(writeable=True) as registry:
        ids = target.jobs(registry)
        submitted = registry.submit_jobs(
            ids if chunk is None else _in_chunks(registry, ids, chunk),
            dict(resources) or None,
            priority=priority,
            after=after and parse_selector(after, registry),
            retries=dict(retries),
        )
    _say(submitted, "submitted")


def _in_chunks(registry: Registry, ids: JobIds | None, size: int) -> Any:
    """Return a table of jobs, so many of them in each chunk."""
    import pandas as pd  # noqa: PLC0415 - slow, and only needed for tables

    chosen = registry.find_not_submitted() if ids is None else ids
    return pd.DataFrame({"job_id": chosen, "chunk": divide(chosen, chunk_size=size, shuffle=False)})


@click.command(cls=Command)
@target_argument()
@click.option("--timeout", type=click.FloatRange(min=0), help="Give up after so many seconds.")
@click.option("--stop-on-error", is_flag=True, help="Stop waiting at the first failed job.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def wait(target: Target, timeout: float | None, stop_on_error: bool, quiet: bool) -> int:
    """Wait until jobs have ended, by default all that are submitted.

    Exit code 0: all done. 1: some failed or expired. 4: timed out.
    """
    with target.open(writeable=True) as registry:
        ids = target.jobs(registry)
        if ids is None:
            ids = registry.find_submitted()
        registry.wait_for_jobs(
            ids, timeout=timeout, stop_on_error=stop_on_error, progress=not quiet
        )
        status = registry.get_status(ids)
    click.echo(str(status))
    return _verdict(status, stop_on_error=stop_on_error)


def _verdict(status: Status, *, stop_on_error: bool) -> int:
    failed = status.error + status.expired
    if status.system and not (stop_on_error and status.error):
        return TIMED_OUT
    return FAILED if failed else OK


@click.command(cls=Command)
@target_argument(ids="IDS")
def kill(target: Target) -> None:
    """End jobs that are queued or running; they are as if never submitted."""
    with target.open(writeable=True) as registry:
        killed = registry.kill_jobs(target.jobs(registry))
    _say(killed, "killed")


@click.command(cls=Command)
@target_argument(ids="IDS")
def reset(target: Target) -> None:
    """Forget what became of jobs; they are as if never submitted."""
    with target.open(writeable=True) as registry:
        changed = registry.reset_jobs(target.jobs(registry))
    _say(changed, "reset")


def _say(ids: JobIds, what: str) -> None:
    click.echo(f"{len(ids)} {'job' if len(ids) == 1 else 'jobs'} {what}")
