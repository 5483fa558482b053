"""Define and find experiments, without running any.

    python benchmarks/experiments.py [--experiments 100000] [--runs 3]

Goals at 10^5: `add_experiments` 3 s, `find_experiments` over them 0.5 s. Both for definitions with
ten replications each, and for definitions with one, where each has parameters of its own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import machine, show

import batchpilot as bp


ALGORITHMS = 10
REPLS = 10


def problem(n: int, noise: float) -> tuple[int, float]:
    """Return the parameters."""
    return n, noise


def algorithm(instance: Any, k: int, kernel: str = "rbf") -> Any:
    """Return the instance and the parameters."""
    return instance, k, kernel


def designs(rows: int, columns: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return designs of so many rows for the problem and the algorithm."""
    ours = {"n": list(range(rows)), "noise": [at / 7 for at in range(rows)]}
    theirs = {"k": list(range(columns)), "kernel": ["rbf", "linear"] * (columns // 2)}
    return {"problem": ours}, {"algorithm": theirs}


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def study(place: Path, experiments: int, repls: int) -> dict[str, float]:
    """Define experiments and find them; return the seconds."""
    reg = bp.make_experiment_registry(place, seed=1)
    reg.add_problem("problem", fun=problem, seed=1)
    reg.add_algorithm("algorithm", algorithm)
    given = designs(experiments // ALGORITHMS // repls, ALGORITHMS)
    figures = {"add_experiments": seconds(lambda: reg.add_experiments(*given, repls=repls))}
    searches: dict[str, dict[str, Any]] = {
        "by name and replication": {"prob_name": "problem", "repls": 1},
        "by a problem's parameters": {"prob_pars": "n % 10 == 7 & noise > 1"},
        "by both parameters": {"prob_pars": "n > 50", "algo_pars": "k < 5 & kernel == 'rbf'"},
        "by a function": {"algo_pars": lambda k: k % 2 == 1},
    }
    for name, arguments in searches.items():
        figures[f"find_experiments {name}"] = seconds(lambda a=arguments: reg.find_experiments(**a))
    figures["summarize_experiments"] = seconds(reg.summarize_experiments)
    figures["get_job_pars"] = seconds(reg.get_job_pars)
    reg.close()
    return figures


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--experiments", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    print(machine())
    goals = {"add": "3 s", "find": "0.5 s"}
    for repls in (REPLS, 1):
        with tempfile.TemporaryDirectory() as place:
            runs = [
                study(Path(place) / f"registry{run}", arguments.experiments, repls)
                for run in range(arguments.runs)
            ]
        print(f"{arguments.experiments:,} experiments, {repls} of each definition:")
        for name in runs[0]:
            goal = goals.get(name.partition("_")[0], "none")
            show(f"  {name}", [run[name] for run in runs], "s", goal)


if __name__ == "__main__":
    main()
