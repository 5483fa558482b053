"""A request is carried out once: asked again, played again, or when its coordinator dies."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Until
from tests.end_to_end.edges_places.tools import OwnBroker
from tests.end_to_end.failures.conftest import Tell
from tests.testbed.hosts import Host

import batchpilot as bp
from batchpilot.asking import error_in, pack, unpack
from batchpilot_broker.access import read_secret
from batchpilot_broker.clientside import Nudger
from batchpilot_broker.codec import Seal
from batchpilot_broker.keys import Keys

from .conftest import MAKE, loaded


@pytest.fixture
def reg(login1: Host, study: Path) -> Iterator[bp.Registry]:
    login1.run(MAKE, study)
    with loaded(study) as registry:
        yield registry


@pytest.fixture
def line(reg: bp.Registry) -> Iterator[Nudger]:
    """Give a connection by which requests go."""
    made = Nudger(reg.paths, reg.instance)
    yield made
    made.close()


def fields(reg: bp.Registry, verb: str, *args: Any) -> dict[str, Any]:
    return {"verb": verb, "host": "h", "user": "u", **pack([list(args), {}], reg.objects)}


def test_a_request_that_is_asked_again_is_done_once_and_answered_alike(
    reg: bp.Registry, line: Nudger
) -> None:
    reg.batch_map(lambda i: i, i=range(10))
    reg.submit_jobs()
    assert reg.wait_for_jobs(timeout=60, progress=False)
    name = secrets.token_hex(16)
    asked = fields(reg, "_reset", [1, 2])
    first = line.ask(name, **asked)
    reg.submit_jobs()
    assert reg.wait_for_jobs(timeout=60, progress=False)

    assert line.ask(name, **asked) == first
    assert reg.get_status().done == 10
    assert unpack(first or {}, reg.objects)[0].tolist() == [1, 2]


def test_a_request_too_old_is_not_done(
    reg: bp.Registry, broker: OwnBroker, until: Until, login1: Host
) -> None:
    seal = Seal(read_secret(reg.paths), reg.instance)
    late = {"kind": "request", "id": "0" * 32, "until": 1.0, **fields(reg, "_set", "seed", 7)}
    broker.client.xadd(Keys(reg.instance).events, {"r": seal.pack("request", late)})

    log = reg.paths.logs / "coordinator.log"
    until(lambda: "old request" in log.read_text())
    with reg.database.read() as tx:
        assert tx.meta("seed") == 1
    assert login1.processes("batchpilot.coordinator")


def test_what_is_not_meant_or_does_not_fit_is_refused_and_the_coordinator_goes_on(
    reg: bp.Registry, line: Nudger
) -> None:
    for verb in ("remove", "close", "_db", "no such thing", "_check_here"):
        answer = line.ask(secrets.token_hex(16), **fields(reg, verb)) or {}
        assert "not known" in str(error_in(answer))
    assert reg.paths.owner.exists()

    answer = line.ask(secrets.token_hex(16), **fields(reg, "_set", 1, 2, 3, 4)) or {}

    assert "cannot be done" in str(error_in(answer))
    assert reg.batch_map(lambda i: i, i=[1]) == bp.JobIds(1)


def _length(text: str) -> int:
    return len(text)


def test_large_arguments_go_as_an_object(reg: bp.Registry) -> None:
    ids = reg.batch_map(_length, text=[str(i) * 200 for i in range(3000)])

    assert len(ids) == 3000
    assert reg.get_job_pars(3000).loc[0, "job_pars"] == {"text": "2999" * 200}


def test_a_request_whose_coordinator_is_killed_is_done_once_by_the_next(
    reg: bp.Registry, login1: Host, tell: Tell
) -> None:
    before = login1.freeze("batchpilot.coordinator")
    assert before
    mapped: list[bp.JobIds] = []
    thread = threading.Thread(target=lambda: mapped.append(reg.batch_map(abs, x=[-1, -2])))
    moment = time.monotonic()
    thread.start()
    for pid in before:
        with suppress(ProcessLookupError):  # a child that ends with it
            os.kill(pid, signal.SIGKILL)
    thread.join(60)

    assert mapped == [bp.JobIds([1, 2])]
    assert reg.find_jobs() == bp.JobIds([1, 2])
    tell(f"answered by the next coordinator after {time.monotonic() - moment:.1f} s")
