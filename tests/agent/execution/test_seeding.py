"""Same seed, same numbers: whatever slot, order, and time of import."""

# ruff: noqa: ARG001 - jobs take a parameter, needed or not
# ruff: noqa: NPY002, S311 - the generators that are seeded are what is tested

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchpilot_agent.slot.seeds import Seeder, job_seed, kept_generators, problem_seed


if TYPE_CHECKING:
    from tests.agent.execution.conftest import Agent

GET_SEED = [  # golden g03 of the original
    (1, 1, 2),
    (1, 2, 3),
    (42, 1, 43),
    (123, 100000, 100123),
    (2147483646, 1, 2147483647),
    (2147483647, 1, 1),
    (2147483647, 5, 5),
    (2147483644, 4, 1),
]


@pytest.mark.parametrize(("start", "job", "seed"), GET_SEED)
def test_seeds_of_jobs_are_the_originals(start: int, job: int, seed: int) -> None:
    assert job_seed(start, job) == seed


def test_the_first_replication_uses_the_problems_own_seed() -> None:
    assert [problem_seed(1, repl) for repl in (1, 2, 3)] == [1, 2, 3]
    assert problem_seed(2147483647, 2) == 1


@given(st.integers(1, 2**31 - 1))
def test_seeding_is_what_random_seed_does(seed: int) -> None:
    with kept_generators() as seeder:
        seeder.seed(seed)
        ours = [random.random(), random.gauss(0, 1), np.random.normal(), np.random.randint(99)]
        random.seed(seed)
        np.random.seed(seed)
        theirs = [random.random(), random.gauss(0, 1), np.random.normal(), np.random.randint(99)]

    assert ours == theirs


def test_generators_of_the_session_are_given_back() -> None:
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.random()
    random.seed(5)
    np.random.seed(5)
    with kept_generators() as seeder:
        seeder.seed(99)
        random.gauss(0, 1)
        np.random.normal()

    assert (random.random(), np.random.random()) == expected
    assert not any(isinstance(finder, Seeder) for finder in sys.meta_path)


def test_numpy_is_put_back_on_its_own_bit_generator() -> None:
    with kept_generators() as seeder:
        seeder.seed(3)
        expected = np.random.random()
        legacy: Any = np.random
        own = legacy.get_bit_generator()
        legacy.set_bit_generator(np.random.PCG64(1))
        seeder.seed(3)

        assert np.random.random() == expected
        assert legacy.get_bit_generator() is own


def draw_both(x: int) -> tuple[float, float, float]:
    import random  # noqa: PLC0415 - the moment of import is what is tested

    import numpy.random  # noqa: PLC0415 - as above

    return random.random(), numpy.random.random(), random.gauss(0, 1)


def expected(seed: int) -> tuple[float, float, float]:
    random.seed(seed)
    np.random.seed(seed)
    return random.random(), np.random.random(), random.gauss(0, 1)


def test_draws_are_those_of_the_jobs_seed_in_any_order(agent: Agent) -> None:
    template = agent.template(draw_both)
    first, second = template.fork(0), template.fork(1)
    first.run([(1,)] * 4, ids=[1, 2, 3, 4], seed=42)
    second.run([(1,)] * 2, ids=[4, 1], seed=42)
    values = {(row.slot, row.job): row.value for row in agent.rows()}

    assert values[0, 1] == expected(43)
    assert values[0, 4] == values[1, 4] == expected(46)
    assert values[0, 1] == values[1, 1]


def test_numpy_is_seeded_when_the_job_imports_it(agent: Agent) -> None:
    def draw(x: int) -> tuple[float, list[str]]:
        import sys  # noqa: PLC0415 - as in a job

        names: list[str] = ["random", "numpy.random"]
        loaded = [name for name in names if name in sys.modules]
        import numpy.random  # noqa: PLC0415 - the moment of import is what is tested

        return numpy.random.random(), loaded

    slot = agent.slot(draw)
    slot.run([(0,)] * 3, ids=[7, 8, 7], seed=1)
    first, second, third = (row.value for row in agent.rows())

    assert first == (expected(8)[1], [])
    assert second == (expected(9)[1], ["random", "numpy.random"])
    assert third[0] == first[0]


def test_draws_do_not_depend_on_others_having_loaded_numpy(agent: Agent) -> None:
    legacy = np.random.random

    def draw(x: int) -> tuple[float, bool]:
        import sys  # noqa: PLC0415 - as in a job

        loaded = "numpy.random" in sys.modules
        import numpy.random  # noqa: PLC0415 - the moment of import is what is tested

        return numpy.random.random(), loaded

    def draw_loaded(x: int) -> tuple[float, bool]:
        assert legacy is not None
        return draw(x)

    cold = agent.value(draw, 0)
    warm = agent.value(draw_loaded, 0)

    assert cold == (expected(2)[1], False)
    assert warm == (expected(2)[1], True)


def test_a_template_does_not_load_what_is_dear_to_seed(agent: Agent) -> None:
    def loaded(x: int) -> list[str]:
        import sys  # noqa: PLC0415 - as in a job

        dear = ("random", "numpy", "pandas", "redis", "rq", "sqlite3", "asyncio", "batchpilot")
        return [name for name in dear if name in sys.modules]

    assert agent.value(loaded, 0) == []


def test_the_jobs_own_generator_is_as_promised(agent: Agent) -> None:
    def draw(x: int, job: Any) -> list[float]:
        values: list[float] = [*job.rng.random(2), job.rng.random()]
        return values

    slot = agent.slot(draw)
    slot.run([(0,)], ids=[5], seed=42)
    stream = np.random.SeedSequence(entropy=42, spawn_key=(0, 5))

    assert agent.rows()[0].value == list(np.random.Generator(np.random.PCG64(stream)).random(3))


def test_the_golden_file_has_these_seeds() -> None:
    golden = Path(__file__).parents[2] / "golden" / "g03_seeds.json"
    wanted = json.loads(golden.read_text())["getSeed"]["value"]

    assert [(w["start"], w["id"], w["seed"]) for w in wanted] == GET_SEED
