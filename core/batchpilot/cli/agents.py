"""`agents`: the pilots of a registry."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import click

from batchpilot import control, foreground
from batchpilot.errors import LogMissing
from batchpilot.store.allocations import element_of
from batchpilot.store.launches import failing, read_failures
from batchpilot.store.snapshots import reading
from batchpilot_broker.journal import LogFormat
from batchpilot_broker.paths import RegistryPaths

from .lazy import Family
from .output import print_document, print_table
from .screen import duration
from .tailing import show_tail
from .words import DEFAULT_REGISTRY, json_option, open_registry, paths_of, registry_argument


MOST_WORDS = 2
FIELDS = (
    "id",
    "pool",
    "host",
    "pid",
    "state",
    "slots",
    "busy",
    "started",
    "scheduler_id",
    "deadline",
    "running",
)
OF_FAILURES = ("pool", "what", "time", "failures", "words", "paused")
HEADERS = ("id", "pool", "host", "pid", "job", "state", "slots", "busy", "runs", "age", "left")
NUMBERS = ("pid", "slots", "busy", "age", "left")
SHOWN_JOBS = 3


@click.group(cls=Family)
def agents() -> None:
    """Start, list, stop and resume agents."""


@agents.command()
@registry_argument
@click.option("--pool", help="Pool of the agents, by default the registry's first.")
@click.option("-n", "--number", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--dry-run", is_flag=True, help="Print the job script instead; start nothing.")
def start(directory: str, pool: str | None, number: int, *, dry_run: bool) -> None:
    """Start agents now, before there is work for them, and print their ids.

    Of agents at a batch system the ids are those that it gave them.
    """
    from batchpilot import starting  # noqa: PLC0415 - loads pools, which the others need not

    paths = paths_of(directory)
    if dry_run:
        click.echo("".join(starting.dry_run(paths, pool, number)), nl=False)
        return
    for agent in starting.start_agents(paths, pool, number):
        click.echo(agent)


@agents.command("run")
@registry_argument
@click.option("--pool", required=True, help="Pool that it belongs to, of kind External.")
@click.option("--slots", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--cores", type=click.IntRange(min=1), help="Cores for its jobs; one a slot.")
@click.option("--memory", type=click.FloatRange(min=0), help="MB for its jobs; unlimited.")
@click.option("--gpus", type=click.IntRange(min=0), help="Devices for its jobs; none.")
@click.option("--walltime", type=click.FloatRange(min=0), help="Seconds until it is ended.")
@click.option("--grace", type=click.FloatRange(min=0), help="Seconds for jobs when it leaves.")
@click.option("--idle-timeout", type=click.FloatRange(min=0), help="Leave after idle seconds.")
@click.option("--orphan-timeout", type=click.FloatRange(min=0), help="And without coordinator.")
@click.option("--log-format", type=click.Choice([*map(str, LogFormat)]), help="As text or json.")
@click.option("--stay", is_flag=True, help="Never leave for want of work, as a service does.")
def run(directory: str, pool: str, stay: bool, **options: float | str | None) -> None:
    """Be an agent in the foreground, until SIGTERM: its jobs are handed back then.

    For what starts agents itself, as Kubernetes and systemd do; any host that shares the
    registry's directory will do.
    """
    if stay:
        options["idle_timeout"] = math.inf
    foreground.run_agent(paths_of(directory), pool, options)


@agents.command("list")
@registry_argument
@json_option
def list_(directory: str, as_json: bool) -> None:
    """List the agents that are there, and how others failed to start in the last minutes."""
    paths = paths_of(directory)
    there, awaited = control.agents(paths), control.awaited_agents(paths)
    failures = read_failures(paths)
    if as_json:
        shown = [{name: agent[name] for name in FIELDS} for agent in there]
        failed = [{name: getattr(each, name) for name in OF_FAILURES} for each in failures]
        print_document(agents=shown, awaited=awaited, failures=failed)
        return
    if there or awaited:
        print_table(HEADERS, [*map(_row, there), *map(_awaited, awaited)], right=NUMBERS)
    else:
        click.echo("No agent is there; agents come with work: batchpilot submit", err=True)
    for failure in failures:
        click.echo(f"Warning: {failing(failure, time.time())}\n{failure.words}", err=True)


def _row(agent: dict[str, Any]) -> list[object]:
    now, deadline, jobs = time.time(), agent["deadline"], agent["running"]
    runs = ",".join(map(str, jobs[:SHOWN_JOBS])) + (",..." if len(jobs) > SHOWN_JOBS else "")
    left = duration(max(0.0, deadline - now)) if deadline else ""
    who = [agent[name] for name in ("id", "pool", "host", "pid", "scheduler_id", "state")]
    return [*who, agent["slots"], agent["busy"], runs, duration(now - agent["started"]), left]


def _awaited(agent: dict[str, Any]) -> list[object]:
    state = f"{agent['state']} {agent['reason']}".strip()
    age = duration(time.time() - agent["submitted"])
    return ["", agent["pool"], "", "", agent["scheduler_id"], state, "", "", "", age, ""]


@agents.command()
@click.argument("words", metavar="[REG] ID", nargs=-1, required=True)
@click.option("-f", "--follow", is_flag=True, help="Go on until the agent has ended.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=50, show_default=True, help="How many."
)
def log(words: tuple[str, ...], follow: bool, lines: int) -> None:
    """Show the last lines of what an agent has said of itself."""
    if len(words) > MOST_WORDS:
        raise click.UsageError("One agent is shown at a time.")
    directory, name = (DEFAULT_REGISTRY, *words)[-2:]
    paths = paths_of(directory)
    path = _log_of(paths, name)
    if Path(name).name != name or not path.is_file():
        raise LogMissing(
            f"{paths.root} has no log of an agent {name}",
            remedy="see `batchpilot agents list`; those started by hand keep none there",
        )
    show_tail(path, lines, (lambda: _lives(paths, name)) if follow else None)


def _log_of(paths: RegistryPaths, name: str) -> Path:
    """Return what an agent says; at a batch system that lies with the job script."""
    database = reading(paths)
    try:
        with database.read() as tx:
            element = element_of(tx, name)
    finally:
        database.close()
    return paths.agent_log(name) if element is None else paths.element_output(*element)


def _lives(paths: RegistryPaths, name: str) -> bool:
    return any(agent["id"] == name for agent in control.agents(paths))


@agents.command()
@registry_argument
@click.argument("names", metavar="[ID]...", nargs=-1)
def stop(directory: str, names: tuple[str, ...]) -> None:
    """Let agents finish what runs, hand back the rest and leave.

    An ID is that of an agent, or of its job at the batch system; one that still waits there is
    cancelled. Without IDs all of them, and none comes again until `agents resume`. Prints the ids
    of those that leave.
    """
    with open_registry(directory, writeable=True) as registry:
        leaving = registry.stop_agents(names or None)
    for agent in leaving:
        click.echo(agent)


@agents.command()
@registry_argument
def resume(directory: str) -> None:
    """Let agents come again after `agents stop`, and those of pools that were paused."""
    with open_registry(directory, writeable=True) as registry:
        registry.resume_agents()
    click.echo("Agents come again as there is work.", err=True)
