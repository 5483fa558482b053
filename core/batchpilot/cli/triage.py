"""`errors`, `log` and `grep`: what went wrong, and what jobs have said."""

from __future__ import annotations

import time

import click

from batchpilot.errors import LogMissing
from batchpilot.registry.whole import Registry

from .grouping import Group, group_failures, short_ids
from .lazy import Command
from .output import print_document, print_table
from .snapshot import failures
from .words import (
    DEFAULT_REGISTRY,
    Target,
    complete_registry,
    json_option,
    open_registry,
    registry_argument,
    target_argument,
)


FOLLOW_SECONDS = 0.5


@click.command(cls=Command)
@registry_argument
@click.option("--resubmit", is_flag=True, help="Submit all of them again.")
@json_option
def errors(directory: str, resubmit: bool, as_json: bool) -> None:
    """Group the jobs that failed or expired by what went wrong.

    Messages that differ only in numbers are one group.
    """
    with open_registry(directory, writeable=resubmit) as registry:
        groups = group_failures(failures(registry))
        failed = registry.find_error() | registry.find_expired()
        again = len(registry.submit_jobs(failed)) if resubmit and failed else 0
    if as_json:
        print_document(errors=[_fields(group) for group in groups], resubmitted=again)
        return
    _show(groups, directory)
    if resubmit:
        click.echo(f"{again} jobs submitted again", err=True)


def _show(groups: list[Group], directory: str) -> None:
    if not groups:
        click.echo("No job has failed.", err=True)
        return
    rows = [(group.count, short_ids(group.ids), group.headline) for group in groups]
    print_table(("jobs", "ids", "message"), rows, right=("jobs",))
    example = groups[0].ids[0]
    click.echo(f"Traceback and output of one: batchpilot log {directory} {example}", err=True)


def _fields(group: Group) -> dict[str, object]:
    return {"message": group.message, "count": group.count, "job_ids": group.ids}


@click.command(cls=Command)
@target_argument(ids="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@json_option
def log(target: Target, follow: bool, as_json: bool) -> None:
    """Show what a job has printed, and the traceback of its error."""
    if follow and as_json:
        raise click.UsageError("--json writes one document; it cannot be used with --follow.")
    with target.open() as registry:
        job = target.one(registry)
        if as_json:
            print_document(job_id=job, lines=registry.get_log(job))
        elif follow:
            _follow(registry, job)
        else:
            _print(registry.get_log(job))


def _follow(registry: Registry, job: int) -> None:
    """Print the log as it grows; the last line waits until it is complete."""
    shown: list[str] = []
    while True:
        status = registry.get_status(job)
        lines = _log_so_far(registry, job) if status.system else registry.get_log(job)
        if lines[: len(shown)] != shown:
            click.echo(f"Job {job} has begun again.", err=True)
            shown = []
        _print(lines[len(shown) :])
        if not status.system:
            return
        shown = lines
        time.sleep(FOLLOW_SECONDS)


def _log_so_far(registry: Registry, job: int) -> list[str]:
    try:
        return registry.get_log(job)[:-1]
    except LogMissing:
        return []


def _print(lines: list[str]) -> None:
    for line in lines:
        click.echo(line)


@click.command(cls=Command)
@click.argument(
    "words", metavar="[REG] PATTERN", nargs=-1, required=True, shell_complete=complete_registry
)
@click.option("--jobs", "ids", metavar="IDS", help="Only these jobs; by default all that started.")
@click.option("-i", "--ignore-case", is_flag=True, help="Take upper and lower case as the same.")
@click.option("-F", "--fixed", is_flag=True, help="Take the pattern literally.")
@json_option
def grep(
    words: tuple[str, ...], ids: str | None, ignore_case: bool, fixed: bool, as_json: bool
) -> None:
    """Search the logs of jobs for a regular expression, line by line."""
    if len(words) > 2:  # noqa: PLR2004 - REG and PATTERN
        raise click.UsageError(f"One pattern is searched for, these are {len(words) - 1}.")
    *reg, pattern = words
    target = Target(directory=reg[0] if reg else DEFAULT_REGISTRY, ids=ids)
    with target.open() as registry:
        found = registry.grep_logs(
            pattern, target.jobs(registry), ignore_case=ignore_case, fixed=fixed
        )
    matches = list(zip(found["job_id"].tolist(), found["matches"].tolist(), strict=True))
    if as_json:
        told = [{"job_id": job, "lines": lines.split("\n")} for job, lines in matches]
        print_document(pattern=pattern, matches=told)
        return
    for job, lines in matches:
        _print([f"{job}: {line}" for line in lines.split("\n")])
    if not matches:
        click.echo("No log matches.", err=True)
