"""`submit`, `wait`, `kill`, `reset`: what changes the course of jobs."""

from __future__ import annotations

import json
from typing import Any

import click

from batchpilot.ids import JobIds
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
def submit(target: Target, resources: tuple[tuple[str, Any], ...], priority: int) -> None:
    """Submit jobs, by default all that are not submitted."""
    with target.open(writeable=True) as registry:
        submitted = registry.submit_jobs(
            target.jobs(registry), dict(resources) or None, priority=priority
        )
    _say(submitted, "submitted")


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
