"""Which generator is seeded with what, in problem function and algorithm."""

# ruff: noqa: S311 - the generators that are seeded are what is tested

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from batchpilot_agent.slot.seeds import instance_seed


if TYPE_CHECKING:
    from tests.agent.execution.experiments.conftest import Lab

GOLDEN = Path(__file__).parents[3] / "golden" / "g03_seeds.json"
Experiment = Callable[..., bytes]


def draw() -> float:
    import random  # noqa: PLC0415 - in the job

    return random.random()


def draw_and_tell(job: Any, instance: Any) -> tuple[Any, float, int, int]:
    import random  # noqa: PLC0415 - in the job

    return instance, random.random(), job.seed, job.instance_seed


def first(seed: int) -> float:
    return random.Random(seed).random()


def golden_lab(lab: Lab) -> Lab:
    """Define the golden file's problems: p1 with seed 1, p2 without; a1 and a2 draw."""
    lab.problem(draw, name="p1", seed=1).problem(draw, name="p2")
    return lab.algorithm(draw_and_tell, name="a1").algorithm(draw_and_tell, name="a2")


def test_seeds_are_the_originals_and_all_algorithms_see_one_instance(
    lab: Lab, experiment: Experiment
) -> None:
    wanted = json.loads(GOLDEN.read_text())["problem_and_algorithm_seed"]["value"]
    rows = [experiment(w["problem"], w["algorithm"], w["repl"]) for w in wanted]
    values = [row.value for row in golden_lab(lab).run(rows, seed=42)]

    assert [value[2] for value in values] == [w["seed"] for w in wanted]
    assert [value[3] for value in values[:6]] == [1, 2, 3, 1, 2, 3]
    assert [value[3] for value in values[6:]] == [w["seed"] for w in wanted[6:]]
    for instance, drawn, seed, made_under in values:
        assert (instance, drawn) == (first(made_under), first(seed))
    assert [v[0] for v in values[:3]] == [v[0] for v in values[3:6]]


def test_an_instance_without_a_seed_is_the_algorithms_own_draw(
    lab: Lab, experiment: Experiment
) -> None:
    golden_lab(lab)
    instance, drawn, _, _ = lab.value(experiment("p2", "a1", 3), ids=[9], seed=42)

    assert instance == drawn == first(51)


def test_order_slot_and_isolation_do_not_change_results(lab: Lab, experiment: Experiment) -> None:
    golden_lab(lab)
    rows = [experiment(p, a, r) for p in ("p1", "p2") for a in ("a1", "a2") for r in (1, 2)]
    forward = {row.job: row.value for row in lab.run(rows)}
    backward = lab.run(rows[::-1], ids=range(8, 0, -1))
    template = lab.template()
    before = len(lab.agent.rows())
    for job, row in enumerate(rows, 1):
        slot = template.fork()
        assert slot.run([row], ids=[job], isolation="process") == [1, "leave:process"]
        assert template.ended()[1] == 0
    alone = lab.agent.rows()[before:]

    assert {row.job: row.value for row in backward} == forward
    assert {row.job: row.value for row in alone} == forward


def test_seeds_wrap_around_as_the_originals() -> None:
    assert [instance_seed(2147483647, repl, 9) for repl in (1, 2, 3)] == [2147483647, 1, 2]
    assert instance_seed(None, 3, 9) == 9


def stream(entropy: int, *key: int) -> list[float]:
    sequence = np.random.SeedSequence(entropy=entropy, spawn_key=key)
    return list(np.random.Generator(np.random.PCG64(sequence)).random(2))


def test_each_function_has_a_stream_of_its_own(lab: Lab, experiment: Experiment) -> None:
    lab.problem(lambda job: list(job.rng.random(2)), name="seeded", seed=7)
    lab.problem(lambda job: list(job.rng.random(2)), name="free")
    lab.algorithm(lambda job, instance: (instance, list(job.rng.random(2))))
    rows = [experiment("seeded", repl=3), experiment("free", repl=3)]
    seeded, free = (row.value for row in lab.run(rows, ids=[5, 6], seed=42))

    assert seeded == (stream(7, 1, 3), stream(42, 0, 5))
    assert free == (stream(42, 1, 6), stream(42, 0, 6))
