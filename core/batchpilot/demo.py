"""The demo: which learner predicts best? Real work, for registry, broker, coordinator and agents.

Everything it says is read from the registry, so a second run has the same table and figure without
computing anything. One job cannot work, and must not: it asks for more neighbours than there are
observations to learn from.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import click

from batchpilot import control, pools
from batchpilot.demo_jobs import DATA, FOLDS, LEARNERS, TOO_MANY_NEIGHBOURS, accuracy
from batchpilot.demo_report import draw, print_table, summarise
from batchpilot.errors import DefinitionError
from batchpilot.ids import JobIds
from batchpilot.registry.whole import Registry, load_registry, make_registry


FOLD_SEEDS = (1, 2, 3, 4, 5)
COMPARED = tuple(name for name in LEARNERS if name != TOO_MANY_NEIGHBOURS)

ROWS: list[dict[str, Any]] = [
    {"learner": learner, "data": data, "fold_seed": fold_seed, "fold": fold}
    for learner, data, fold_seed, fold in (
        *product(COMPARED, DATA, FOLD_SEEDS, range(FOLDS)),
        (TOO_MANY_NEIGHBOURS, "iris", 1, 0),
    )
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Hold what became of the jobs.

    Attributes:
        computed: Number of jobs that ran in this run of the demo.
        failed: Jobs that failed or expired, the one that must fail apart.
        unfinished: Jobs that have not ended.
        refused: The job that must fail, and did.
    """

    computed: int
    failed: JobIds
    unfinished: JobIds
    refused: JobIds

    @property
    def ok(self) -> bool:
        """Tell whether everything went as it must."""
        return not self.failed and not self.unfinished and len(self.refused) == 1


def run(directory: Path, *, retry: bool = False) -> int:
    """Run the demo, or go on with it, and return its exit code.

    Args:
        directory: The registry, made if it is not there.
        retry: Whether failed jobs are submitted again.
    """
    begun = time.time()
    with open_study(directory) as registry:
        ran_before = control.coordinator_status(registry.paths)["running"]
        compute(registry, retry=retry)
        outcome = judge(registry, begun)
        _say_status(registry, outcome, time.time() - begun)
        _say_results(registry, directory.with_name(f"{directory.name}.png"))
        _say_failures(registry, outcome, directory)
        if not ran_before:
            control.stop(registry.paths)
        else:
            click.echo(
                f"\nThe coordinator ran before and goes on: batchpilot coordinator stop {directory}"
            )
    _say_how_to_go_on(directory)
    return 0 if outcome.ok else 1


def open_study(directory: Path) -> Registry:
    """Return the registry of the demo with its jobs defined.

    Raises:
        DefinitionError: The directory holds another study.
    """
    click.echo(
        f"{len(COMPARED)} learners, {len(DATA)} data sets, {FOLDS}-fold cross-validation, "
        f"{len(FOLD_SEEDS)} fold seeds: {len(ROWS)} jobs, one of which cannot work"
    )
    if directory.exists():
        registry = load_registry(directory)
    else:
        registry = make_registry(directory, seed=1)
        registry.pools = [pools.Local()]
    if not registry.find_jobs():
        registry.batch_map(accuracy, args=ROWS)
    elif not _is_demo(registry):
        registry.close()
        raise DefinitionError(
            f"{directory} holds another study", remedy="choose another directory with --dir"
        )
    return registry


def _is_demo(registry: Registry) -> bool:
    parameters = registry.get_job_pars()
    return "job_pars" in parameters and parameters["job_pars"].tolist() == ROWS


def compute(registry: Registry, *, retry: bool) -> None:
    """Submit what has no outcome yet, and wait for it and for what an earlier run has submitted."""
    todo = registry.find_not_submitted() | registry.find_expired()
    if retry:
        todo |= registry.find_error()
    before = registry.find_on_system()
    click.echo(
        f"Registry {registry.file_dir}: {len(registry.find_done())} done, "
        f"{len(registry.find_error())} failed, {len(before)} under way, {len(todo)} to submit"
    )
    if not todo and not before:
        click.echo("Nothing is left to compute: all that follows is read from the registry.")
        return
    if todo:
        registry.submit_jobs(todo)
    registry.wait_for_jobs()


def judge(registry: Registry, begun: float) -> Outcome:
    """Return what became of the jobs, of which those started since `begun` are of this run."""
    must_fail = registry.find_jobs(f"learner == {TOO_MANY_NEIGHBOURS!r}")
    failed = registry.find_error() | registry.find_expired()
    started = registry.get_job_status()["started"].dropna()
    return Outcome(
        computed=int((started.map(lambda at: at.timestamp()) >= begun).sum()),
        failed=failed - must_fail,
        unfinished=registry.find_jobs() - registry.find_done() - failed,
        refused=registry.find_error() & must_fail,
    )


def _say_status(registry: Registry, outcome: Outcome, seconds: float) -> None:
    click.echo(f"\n{registry.get_status()}")
    click.echo(f"{outcome.computed} jobs computed in this run, {seconds:.1f} s in all\n")


def _say_results(registry: Registry, figure: Path) -> None:
    summary = summarise(registry.results_frame())
    print_table(summary, len(FOLD_SEEDS) * FOLDS)
    draw(summary, figure)
    click.echo(f"Figure: {figure}")


def _say_failures(registry: Registry, outcome: Outcome, directory: Path) -> None:
    for job in outcome.refused:
        parameters = ", ".join(f"{k}={v!r}" for k, v in ROWS[job - 1].items())
        click.echo(f"\nJob {job} had to fail ({parameters}).")
        click.echo(f"batchpilot log {directory} {job}")
        click.echo("\n".join(f"  | {line}" for line in registry.get_log(job)))
    if outcome.failed:
        click.echo(f"\n{len(outcome.failed)} other jobs failed: batchpilot errors {directory}")
    if outcome.unfinished:
        click.echo(
            f"\n{len(outcome.unfinished)} jobs have not ended: batchpilot status {directory}"
        )


def _say_how_to_go_on(directory: Path) -> None:
    click.echo(f"""
Go on in Python:
  import batchpilot as bp
  reg = bp.load_registry({str(directory)!r})
  reg.results_frame().groupby(["data", "learner"])["accuracy"].describe()
""")
