"""Ask for agents from a session: noted before the batch system is asked, whatever happens then."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Until
from tests.core.book import Book, open_book

from batchpilot.pools import PBS, SSH, RemotePool
from batchpilot.requesting import ask_for_agents
from batchpilot.store.allocations import Pilot, Stage, add_pilots, pilots_alive, update_pilots
from batchpilot_agent.errors import LaunchPostponed, LaunchRefused


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    with open_book(tmp_path / "study") as made:
        yield made


@pytest.fixture
def bin_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a directory whose programs go before all others."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return directory


def write(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/bash\n{script}\n")
    program.chmod(0o700)


def ask(book: Book, pool: RemotePool, agents: int = 1) -> list[str]:
    return ask_for_agents(pool, book.database, agents, "text")


def alive(book: Book) -> list[tuple[str, str]]:
    with book.database.read() as tx:
        return [(pilot.id, str(pilot.stage)) for pilot in pilots_alive(tx)]


def test_agents_are_noted_before_the_batch_system_answers(
    book: Book, bin_: Path, tmp_path: Path, until: Until
) -> None:
    go, ids = tmp_path / "go", list[str]()
    write(bin_ / "qsub", f"until [ -e {go} ]; do sleep 0.02; done; echo 12.server")
    asking = threading.Thread(target=lambda: ids.extend(ask(book, PBS())))
    asking.start()
    try:
        until(lambda: alive(book) == [("", "submitting")])
    finally:
        go.touch()
        asking.join()

    assert ids == ["12.server"]
    assert alive(book) == [("12.server", "queued")]


def test_ctrl_c_waits_for_what_the_batch_system_calls_them(
    book: Book, bin_: Path, tmp_path: Path, until: Until
) -> None:
    go, begun = tmp_path / "go", tmp_path / "begun"
    write(bin_ / "qsub", f"touch {begun}; until [ -e {go} ]; do sleep 0.02; done; echo 12.server")

    def interrupt() -> None:
        until(begun.exists)
        os.kill(os.getpid(), signal.SIGINT)
        threading.Timer(0.1, go.touch).start()

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        ask(book, PBS())
    interrupting.join()

    assert alive(book) == [("12.server", "queued")]


def test_of_a_request_that_is_refused_nobody_is_awaited(book: Book, bin_: Path) -> None:
    write(bin_ / "qsub", "echo 'qsub: Unknown queue' >&2; exit 153")

    with pytest.raises(LaunchRefused, match="Unknown queue"):
        ask(book, PBS())

    assert alive(book) == []


def test_a_host_gets_one_agent_whoever_asks(book: Book, bin_: Path) -> None:
    write(bin_ / "ssh", "cat >/dev/null; echo started 7 99")
    pool = SSH(["h1", "h2"])
    there = Pilot(
        allocation="a",
        number=1,
        pool=pool.name,
        kind="SSH",
        variables="{}",
        submitted=1.0,
        id="h1|5:6",
        stage=Stage.RUNNING,
    )
    with book.database.write() as tx:
        add_pilots(tx, [there])
        update_pilots(tx, [there])

    assert ask(book, pool) == ["h2|7:99"]
    with pytest.raises(LaunchPostponed, match="each host of pool ssh has an agent"):
        ask(book, pool)
