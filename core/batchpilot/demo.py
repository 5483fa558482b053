"""The demo: which learner predicts best? Real work, for registry, broker, coordinator and agents.

An experiment: data sets are problems, learners are algorithms, folds are parameters of the
problems, and each replication draws the folds anew. Everything the demo says is read from the
registry, so a second run has the same table and figure without computing anything. One job cannot
work, and must not: it asks for more neighbours than there are observations to learn from.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import click

from batchpilot import control, pools
from batchpilot.demo_jobs import DATA, FOLDS, LEARNERS, cut
from batchpilot.demo_report import draw, print_table, summarise
from batchpilot.errors import DefinitionError
from batchpilot.ids import JobIds
from batchpilot.registry.whole import (
    ExperimentRegistry,
    Registry,
    load_registry,
    make_experiment_registry,
)


REPLICATIONS = 5
FIRST_SEED = 1
"""Seed that cuts the data into folds in the first replication; the next ones follow."""

TOO_MANY = {"k": [200]}
"""More neighbours than iris has flowers to learn from: there, scikit-learn must refuse."""

NAMES = [learner.__name__ for learner in LEARNERS]
JOBS = len(NAMES) * len(DATA) * REPLICATIONS * FOLDS + 1


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


def open_study(directory: Path) -> ExperimentRegistry:
    """Return the registry of the demo with its jobs defined.

    Raises:
        DefinitionError: The directory holds another study.
    """
    click.echo(
        f"{len(NAMES)} learners, {len(DATA)} data sets, {FOLDS}-fold cross-validation, "
        f"{REPLICATIONS} replications: {JOBS} jobs, one of which cannot work"
    )
    if not directory.exists():
        registry = make_experiment_registry(directory, seed=1)
        registry.pools = [pools.Local()]
        define(registry)
        return registry
    opened = load_registry(directory)
    if not _is_demo(opened):
        opened.close()
        raise DefinitionError(
            f"{directory} holds another study", remedy="choose another directory with --dir"
        )
    if len(opened.find_jobs()) < JOBS:
        define(opened)  # an earlier run was killed before it had defined them all
    return opened


def define(registry: ExperimentRegistry) -> None:
    """Define the problems, the algorithms, and all experiments that are not there yet."""
    for name, load in DATA.items():
        registry.add_problem(name, data=load(return_X_y=True), fun=cut, seed=FIRST_SEED)
    for learner in LEARNERS:
        registry.add_algorithm(learner.__name__, fun=learner)
    folds = {"fold": range(FOLDS)}
    registry.add_experiments(dict.fromkeys(DATA, folds), repls=REPLICATIONS)
    registry.add_experiments({"iris": {"fold": [0]}}, {"nearest_neighbours": TOO_MANY})


def _is_demo(registry: Registry) -> TypeGuard[ExperimentRegistry]:
    """Tell whether a registry has this study, or the beginning of it."""
    if not isinstance(registry, ExperimentRegistry):
        return False
    problems, algorithms = registry.problems, registry.algorithms
    return problems == list(DATA)[: len(problems)] and algorithms == NAMES[: len(algorithms)]


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


def judge(registry: ExperimentRegistry, begun: float) -> Outcome:
    """Return what became of the jobs, of which those started since `begun` are of this run."""
    must_fail = registry.find_experiments(algo_name="nearest_neighbours", algo_pars="k == 200")
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
    print_table(summary, REPLICATIONS * FOLDS)
    draw(summary, figure)
    click.echo(f"Figure: {figure}")


def _say_failures(registry: Registry, outcome: Outcome, directory: Path) -> None:
    for job in outcome.refused:
        (what,) = registry.get_job_pars(job).to_dict("records")
        click.echo(
            f"\nJob {job} had to fail: {what['algorithm']} with {what['algo_pars']} "
            f"on {what['problem']} with {what['prob_pars']}."
        )
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
  reg.results_frame().groupby(["problem", "algorithm"])["accuracy"].describe()
""")
