"""Stop agents by name or all, on a registry whose agents are made by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.core.book import Book, open_book

from batchpilot.errors import CoordinatorFailed, NoSuchAgent
from batchpilot.pools import Interactive, to_records
from batchpilot.registry.whole import Registry, load_registry
from batchpilot.store.allocations import Pilot, Stage, add_pilots, update_pilots
from batchpilot.store.dismissals import dismissed
from batchpilot.store.launches import LaunchFailure, launch_failures, note_failure
from batchpilot_broker.host import host_name


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    with open_book(tmp_path / "study") as made:
        yield made


@pytest.fixture
def registry(book: Book) -> Iterator[Registry]:
    with load_registry(book.database.paths.root) as opened:
        yield opened


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that stands for an agent on this host."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as started:
        yield started
        started.kill()


def add_agent(book: Book, name: str, *, host: str = "far-away", pid: int = 1) -> None:
    with book.database.write() as tx:
        tx.execute("add_agent", name, "local", host, pid, "idle", 1, 0.0, b"\x80")


def add_pilot(book: Book, id_: str, agent: str = "") -> None:
    pilot = Pilot(
        allocation=f"of-{id_}",
        number=1,
        pool="pbs",
        kind="PBS",
        variables="{}",
        submitted=1.0,
        id=id_,
        stage=Stage.RUNNING if agent else Stage.QUEUED,
        agent=agent,
    )
    with book.database.write() as tx:
        add_pilots(tx, [pilot])
        update_pilots(tx, [pilot])


def meta(book: Book) -> tuple[set[str], bool]:
    with book.database.read() as tx:
        return dismissed(tx), bool(tx.meta("agents_stopped", 0))


def test_an_agent_on_this_host_is_told_without_a_coordinator(
    book: Book, registry: Registry, process: subprocess.Popen[bytes]
) -> None:
    add_agent(book, "a1", host=host_name(), pid=process.pid)

    assert registry.stop_agents(["a1"]) == ["a1"]

    assert process.wait(10) == -15
    assert meta(book) == (set(), False)


def test_agents_that_a_coordinator_must_tell_are_kept_for_it_and_that_is_said(
    book: Book, registry: Registry
) -> None:
    add_agent(book, "a1")
    add_pilot(book, "7[1]")

    with pytest.raises(CoordinatorFailed, match=r"a1, 7\[1\] will be as soon as") as caught:
        registry.stop_agents(["a1", "7[1]"])

    assert caught.value.remedy == f"batchpilot broker start {registry.file_dir}"
    assert meta(book) == ({"a1", "7[1]"}, False)


def test_an_agent_answers_to_its_name_at_the_batch_system(book: Book, registry: Registry) -> None:
    add_agent(book, "a1")
    add_pilot(book, "7[2]", agent="a1")

    with pytest.raises(CoordinatorFailed, match="a1 will be"):
        registry.stop_agents(["7[2]"])

    assert meta(book) == ({"a1"}, False)


def test_an_unknown_name_is_told_and_then_nobody_is_stopped(
    book: Book, registry: Registry, process: subprocess.Popen[bytes]
) -> None:
    add_agent(book, "a1", host=host_name(), pid=process.pid)

    with pytest.raises(NoSuchAgent, match="there is no agent a9") as caught:
        registry.stop_agents(["a1", "a9"])

    assert "agents list" in caught.value.remedy
    assert process.poll() is None
    assert meta(book) == (set(), False)


def test_an_empty_name_as_of_a_shell_variable_that_is_not_set_is_nobody(
    book: Book, registry: Registry
) -> None:
    add_agent(book, "a1")

    with pytest.raises(NoSuchAgent, match="there is no agent ''"):
        registry.stop_agents([""])

    assert meta(book) == (set(), False)


def test_without_names_all_are_stopped_and_none_comes_until_resumed(
    book: Book, registry: Registry
) -> None:
    add_agent(book, "a1")
    with book.database.write() as tx:
        tx.set_meta("pools", json.dumps(to_records([Interactive()])))  # so that nothing is started
        note_failure(tx, LaunchFailure(pool="p", time=0.0, failures=3, words="", paused=True))

    with pytest.raises(CoordinatorFailed):
        registry.stop_agents()
    stopped = meta(book)
    registry.resume_agents()

    assert stopped == ({"a1"}, True)
    assert meta(book) == ({"a1"}, False)
    with book.database.read() as tx:
        assert launch_failures(tx) == []


def test_where_nobody_is_there_stopping_all_needs_no_coordinator(
    book: Book, registry: Registry
) -> None:
    assert registry.stop_agents() == []
    assert meta(book) == (set(), True)
