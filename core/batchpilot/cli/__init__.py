"""The command line: `batchpilot COMMAND`.

Data goes to stdout, everything else to stderr. Each family of commands is a file of its own, loaded
when one of its commands is called, so that `batchpilot --help` loads click and nothing of weight.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module

import click

from .failures import Run, told
from .lazy import LazyGroup


COMMANDS = {
    "demo": ("demo", "Compare learners on real data: the whole machine at work."),
    "status": ("status", "Show how far the jobs are, who works, and what goes wrong."),
    "jobs": ("jobs", "List jobs with their states and parameters."),
    "submit": ("running", "Submit jobs."),
    "wait": ("running", "Wait until jobs have ended."),
    "errors": ("triage", "Group failed and expired jobs by what went wrong."),
    "log": ("triage", "Show what a job has printed."),
    "grep": ("triage", "Search what jobs have printed."),
    "why": ("why", "Tell why a job is where it is."),
    "kill": ("running", "End jobs that are queued or running."),
    "reset": ("running", "Forget what became of jobs."),
    "results": ("results", "Show or save parameters and results."),
    "agents": ("agents", "Start, list, stop and resume local agents."),
    "coordinator": ("daemons", "Run, look at or stop the coordinator."),
    "broker": ("daemons", "Start, look at or stop the broker."),
    "doctor": ("doctor", "Check machine and registry, and say what to mend."),
    "repair": ("mending", "Rebuild a damaged registry from backup and segments."),
    "adopt": ("mending", "Make a copy a registry of its own."),
    "completion": ("completion", "Print what makes a shell complete words."),
}
"""Each command: the file of its family, and what `--help` says of it."""

COMPLETING = "_BATCHPILOT_COMPLETE"
"""The variable by which a shell asks for completions."""


@click.group(cls=LazyGroup, families=COMMANDS)
@click.version_option(package_name="batchpilot", message="%(prog)s %(version)s")
def program() -> None:
    """Run batches of jobs on pilots: one queue, many schedulers.

    REG is a registry's directory, ./registry by default. IDS are job ids: 1-10,15 or @error or
    tag:NAME or all.
    """


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        args: The words after `batchpilot`; those of this process by default.
    """
    run = Run()
    if COMPLETING in os.environ:
        import_module(f"{__package__}.completion").use_our_bash()
    with told(run):
        run.code = program.main(args, prog_name="batchpilot", standalone_mode=False, obj=run) or 0
    return run.code
