"""What keeps jobs from agents: told from a registry whose agents and pools are made by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from tests.core.book import Book, array, event_rows, open_book

from batchpilot.hindrances import hindrances
from batchpilot.pools import PBS, Local, Pool, to_records
from batchpilot.reasons import Cause, Reason
from batchpilot.registry.whole import Registry, load_registry
from batchpilot.resources import class_id
from batchpilot.store.allocations import (
    Pilot,
    Stage,
    add_pilots,
    update_pilots,
    variables_key,
)
from batchpilot.store.launches import LaunchFailure, note_failure
from batchpilot.store.replay import segment_of
from batchpilot_broker.nouns import Outcome, ResourceClass


NOW = 10_000.0
HOUR = 3600.0
POOL = PBS(slots=2, max_agents=4, resources={"walltime": 4 * HOUR, "queue": "short"})


class Scene:
    """A registry in which a job waits for agents of pools.

    Args:
        book: Its database.
    """

    def __init__(self, book: Book) -> None:
        self.book = book
        self.needed = ResourceClass()

    def pools(self, *pools: Pool) -> None:
        """Assign pools."""
        with self.book.database.write() as tx:
            tx.set_meta("pools", json.dumps(to_records(pools)))

    def wait(self, **needs: Any) -> None:
        """Queue a job."""
        self.needed = ResourceClass(**needs)
        self.book.queue([1], self.needed)

    def ask(self, agents: int, *, reason: str = "", **variables: str) -> list[Pilot]:
        """Ask for agents at the batch system, with other variables than those of the pool."""
        key = variables_key({**POOL.variables, **variables})
        name = f"alloc{variables_key(variables)}"
        pilots = [
            Pilot(
                allocation=name,
                number=n,
                pool=POOL.name,
                kind="PBS",
                variables=key,
                submitted=NOW - 300,
                id=f"7[{n}]",
                stage=Stage.QUEUED,
                reason=reason,
            )
            for n in range(1, agents + 1)
        ]
        with self.book.database.write() as tx:
            add_pilots(tx, pilots)
            update_pilots(tx, pilots)
        return pilots

    def come(self, pilot: Pilot, *, state: str = "idle", **info: Any) -> str:
        """Have an agent come that was asked for."""
        agent = f"{pilot.allocation}-{pilot.number}"
        pilot.agent, pilot.stage = agent, Stage.RUNNING
        said = msgpack.packb({"cores": 2, **info})
        with self.book.database.write() as tx:
            tx.execute("add_agent", agent, POOL.name, "node", 1, state, 2, 0.0, said)
            update_pilots(tx, [pilot])
        return agent

    def told(self) -> dict[Cause, Reason]:
        """Return what is told but that no coordinator runs."""
        registry: Registry
        with load_registry(self.book.database.paths.root, writeable=False) as registry:
            reasons = list(hindrances(registry, class_id(self.needed), NOW))
        assert len({reason.cause for reason in reasons}) == len(reasons)
        return {r.cause: r for r in reasons if r.cause is not Cause.NO_COORDINATOR}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A pool of PBS is there, and no agent."""
    with open_book(tmp_path / "study") as book:
        book.define(10)
        made = Scene(book)
        made.pools(POOL)
        yield made


def test_where_no_agent_was_asked_for_yet_that_is_told(scene: Scene) -> None:
    scene.wait()

    (told,) = scene.told().values()

    assert told.cause is Cause.NO_AGENT
    assert told.text == "no agent that can run it is there, and none is asked for yet"


def test_agents_in_the_queue_are_counted_with_the_words_of_the_batch_system(scene: Scene) -> None:
    scene.wait()
    scene.ask(3, reason="Q Not Running: Job limit")

    (told,) = scene.told().values()

    assert told.cause is Cause.AGENTS_QUEUED
    assert told.text == (
        "3 agents of pool pbs wait to be started since 5 min 0 s: Q Not Running: Job limit"
    )


def test_of_agents_just_submitted_nothing_is_known_yet(scene: Scene) -> None:
    scene.wait()
    scene.ask(1)

    assert scene.told()[Cause.AGENTS_QUEUED].text.endswith("5 min 0 s: why, has not been asked yet")


def test_agents_in_the_queue_for_other_variables_are_none_for_this_job(scene: Scene) -> None:
    scene.wait(template=(("queue", "long"),))
    scene.ask(3)

    assert list(scene.told()) == [Cause.NO_AGENT]


def test_agents_with_other_variables_are_told_with_both_values(scene: Scene) -> None:
    scene.wait(template=(("queue", "long"),))
    for pilot in scene.ask(2):
        scene.come(pilot)

    told = scene.told()

    assert list(told) == [Cause.AGENTS_ELSEWHERE]
    assert told[Cause.AGENTS_ELSEWHERE].text == (
        "it asks for queue='long', 2 agents had queue='short' in the job script; "
        "agents of its own are asked for"
    )


def test_a_pool_that_has_all_agents_that_it_may_says_so(scene: Scene) -> None:
    scene.wait(template=(("queue", "long"),))
    for pilot in scene.ask(4):
        scene.come(pilot)

    assert scene.told()[Cause.NO_AGENT].text == (
        "no other agent comes before one leaves: pool pbs has 4 (max_agents)"
    )


@pytest.mark.parametrize(
    ("needs", "got", "words"),
    [
        ({"ncpus": 2}, {"cores": 1}, "ncpus=2, but got at most 1"),
        ({"memory": 500.0}, {"memory": 400.0}, "memory=500, but got at most 400"),
    ],
)
def test_agents_that_got_too_little_are_told_with_how_much(
    scene: Scene, needs: dict[str, Any], got: dict[str, Any], words: str
) -> None:
    scene.wait(**needs)
    for pilot in scene.ask(2):
        scene.come(pilot, **got)

    (told,) = scene.told().values()

    assert told.cause is Cause.AGENTS_TOO_SMALL
    assert told.text == f"2 agents got too little: it needs {words}"
    assert told.remedy


def test_devices_that_an_agent_did_not_get_are_told(scene: Scene) -> None:
    scene.pools(PBS(slots=2, resources={"gpus": 2}))
    scene.wait(gpus=1)
    scene.come(scene.ask(1)[0])

    assert scene.told()[Cause.AGENTS_TOO_SMALL].text.endswith("needs gpus=1, but got at most 0")


def test_a_walltime_longer_than_what_remains_is_told_with_the_longest_left(scene: Scene) -> None:
    scene.wait(walltime=HOUR)
    for left, pilot in zip((600.0, 1800.0), scene.ask(2), strict=True):
        scene.come(pilot, deadline=NOW + left)

    (told,) = scene.told().values()

    assert told.cause is Cause.AGENTS_OUT_OF_TIME
    assert told.text == (
        "it needs 1 h 0 min (its walltime and 30 s), the longest of 2 agents has 30 min 0 s left; "
        "it waits for the next one"
    )


def test_without_a_walltime_counts_what_such_jobs_have_taken_at_that_agent(scene: Scene) -> None:
    scene.wait()
    agents = [scene.come(p, deadline=NOW + 600) for p in scene.ask(2)]
    rows = event_rows((2, 1, Outcome.DONE))
    rows["started"], rows["ended"] = NOW - 900, NOW - 100
    with scene.book.database.write() as tx:
        number = int(tx.pages.take("submission", array([1]))[0])
        tx.pages.put("submission", array([2]), number)
        segment, _ = segment_of(tx, f"{agents[0]}.results", agents[0])
        tx.execute("add_outcome", segment, rows.tobytes())

    told = scene.told()

    assert told[Cause.AGENTS_BUSY].text == "0 of 2 slots at 1 agent for it are busy"
    assert told[Cause.AGENTS_OUT_OF_TIME].text == (
        "it needs 13 min 50 s (what such jobs have taken there and 30 s), the agent has "
        "10 min 0 s left; it waits for the next one"
    )


def test_what_other_jobs_have_taken_says_nothing_of_these(scene: Scene) -> None:
    scene.wait()
    agent = scene.come(scene.ask(1)[0], deadline=NOW + 600)
    scene.book.queue([2], ResourceClass(ncpus=2))
    rows = event_rows((2, 1, Outcome.DONE))
    rows["ended"] = rows["started"] + 5000
    with scene.book.database.write() as tx:
        segment, _ = segment_of(tx, f"{agent}.results", agent)
        tx.execute("add_outcome", segment, rows.tobytes())

    assert list(scene.told()) == [Cause.AGENTS_BUSY]


def test_an_agent_that_is_leaving_begins_nothing_more(scene: Scene) -> None:
    scene.wait()
    scene.come(scene.ask(1)[0], state="draining")

    (told,) = scene.told().values()

    assert (told.cause, told.text) == (
        Cause.AGENTS_LEAVING,
        "1 agent is leaving and begins no more jobs",
    )


def test_a_paused_pool_is_told_with_why_and_how_to_go_on(scene: Scene) -> None:
    scene.wait()
    with scene.book.database.write() as tx:
        words = "qsub: Unknown queue"
        failure = LaunchFailure(pool="pbs", time=NOW - 5, failures=1, words=words, paused=True)
        note_failure(tx, failure)

    (told,) = scene.told().values()

    assert told.cause is Cause.POOL_PAUSED
    assert "qsub: Unknown queue; the pool is paused" in told.text
    assert told.remedy.endswith(f"batchpilot agents resume {scene.book.database.paths.root}")


def test_a_paused_pool_beside_another_does_not_hide_the_agents_of_that(scene: Scene) -> None:
    scene.pools(POOL, Local(slots=2))
    scene.wait()
    with scene.book.database.write() as tx:
        failure = LaunchFailure(pool="pbs", time=NOW, failures=1, words="no", paused=True)
        note_failure(tx, failure)
        tx.execute("add_agent", "l1", "local", "far-away", 1, "idle", 2, 0.0, b"\x80")

    assert list(scene.told()) == [Cause.POOL_PAUSED, Cause.AGENTS_BUSY]
