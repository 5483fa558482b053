"""The same work on each server, started by batchpilot or run by a site, in plain and by TLS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from tests.end_to_end.conftest import MakeStudy
from tests.end_to_end.failures.tools import assert_each_done_once

import batchpilot as bp
from batchpilot_broker.access import read_access
from batchpilot_broker.errors import BrokerRefused
from batchpilot_broker.server import ensure_server

from .conftest import Call, MakeBroker
from .tools import oldest_redis, packaged_redis, server_binary


SERVERS: dict[str, tuple[Callable[[], Path | None], str]] = {
    "bundled": (server_binary, "Valkey"),
    "Debian's": (packaged_redis, "Redis"),
    "oldest": (oldest_redis, "Redis 6.2"),
}


def lecture(i: int, j: int) -> list[int]:
    return [i, j]


def run_the_lectures_jobs(registry: bp.Registry) -> None:
    """Run the 9 jobs of the lecture's map example, and compare them with the original's."""
    registry.batch_map(lecture, i=range(1, 10), j=range(9, 0, -1))
    registry.submit_jobs()

    assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_status()
    assert registry.reduce_results_list() == [[i, 10 - i] for i in range(1, 10)]
    assert_each_done_once(registry, 9)


@pytest.mark.parametrize(("find", "kind"), SERVERS.values(), ids=SERVERS.keys())
def test_the_lectures_jobs_run_on_each_server(
    make_study: MakeStudy,
    monkeypatch: pytest.MonkeyPatch,
    call: Call,
    find: Callable[[], Path | None],
    kind: str,
) -> None:
    binary = find()
    if binary is None:
        pytest.skip(f"NOT TESTED: there is no {kind} here")
    monkeypatch.setenv("BATCHPILOT_BROKER_BIN", str(binary))
    registry = make_study()

    run_the_lectures_jobs(registry)
    code, said = call("doctor", registry.file_dir)
    assert code == 0, said
    assert kind in said


@dataclass(frozen=True, kw_only=True)
class Secured:
    """Hold an address of a broker that speaks TLS, and two authorities: its own, and a stranger."""

    url: str
    ca: Path
    stranger: Path


@pytest.fixture
def secured(make_broker: MakeBroker, port: int, tmp_path: Path) -> Secured:
    """Give a broker that speaks TLS only, as `rediss://` has it."""
    binary = packaged_redis()
    if binary is None:
        pytest.skip("NOT TESTED: there is no Redis here that speaks TLS")
    authority = trustme.CA()
    proof = authority.issue_cert("localhost", "127.0.0.1")
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "stranger", "chain", "key")}
    authority.cert_pem.write_to_path(files["ca"])
    trustme.CA().cert_pem.write_to_path(files["stranger"])
    proof.private_key_pem.write_to_path(files["key"])
    proof.cert_chain_pems[0].write_to_path(files["chain"])
    url = f"rediss://127.0.0.1:{port}/0"
    make_broker(
        f"tls-port {port}",
        "bind 127.0.0.1",
        f"tls-cert-file {files['chain']}",
        f"tls-key-file {files['key']}",
        "tls-auth-clients no",
        binary=binary,
        address=url,
    )
    return Secured(url=url, ca=files["ca"], stranger=files["stranger"])


def test_the_lectures_jobs_run_by_a_sites_broker_which_is_never_ended(
    make_study: MakeStudy, make_broker: MakeBroker, port: int, call: Call
) -> None:
    broker = make_broker("bind 127.0.0.1", port=port, address=f"redis://127.0.0.1:{port}/0")
    registry = make_study()

    run_the_lectures_jobs(registry)
    code, said = call("broker", "status", registry.file_dir)
    assert (code, f"redis://127.0.0.1:{port}/0" in said) == (0, True), said
    assert call("coordinator", "stop", registry.file_dir)[0] == 0
    assert broker.client.ping()


def test_the_lectures_jobs_run_by_a_broker_that_speaks_tls(
    make_study: MakeStudy, secured: Secured, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.setenv("BATCHPILOT_BROKER_CA", str(secured.ca))
    registry = make_study()

    run_the_lectures_jobs(registry)
    access = read_access(registry.paths)
    assert access is not None
    assert (access.urls, access.ca, access.external) == ((secured.url,), str(secured.ca), True)
    code, said = call("doctor", registry.file_dir)
    assert code == 0, said
    words = [path.read_text(errors="replace") for path in registry.paths.logs.iterdir()]
    assert not any(access.password in text for text in words)


def test_many_jobs_pass_through_tls_as_well(
    make_study: MakeStudy, secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHPILOT_BROKER_CA", str(secured.ca))
    registry = make_study()
    registry.batch_map(lambda i, text: (i, text), i=range(5000), text=["x" * 1000] * 5000)
    registry.submit_jobs()

    assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_status()
    assert_each_done_once(registry, 5000)


@pytest.mark.parametrize("named", ["a stranger's", "none"])
def test_a_broker_that_another_authority_vouches_for_is_refused_with_a_remedy(
    make_study: MakeStudy, secured: Secured, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    if named != "none":
        monkeypatch.setenv("BATCHPILOT_BROKER_CA", str(secured.stranger))
    registry = make_study()

    with pytest.raises(BrokerRefused, match=r"not trusted.*BATCHPILOT_BROKER_CA") as refused:
        ensure_server(registry.paths, registry.instance)
    assert refused.value.exit_code == 69
    assert not registry.paths.broker.exists()


def test_a_session_learns_that_the_certificate_is_not_trusted(
    make_study: MakeStudy, secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHPILOT_BROKER_CA", str(secured.stranger))
    registry = make_study()
    registry.batch_map(lecture, i=[1], j=[2])
    registry.submit_jobs()

    with pytest.raises(bp.BatchpilotError, match=r"not trusted.*BATCHPILOT_BROKER_CA"):
        registry.wait_for_jobs(timeout=60, progress=False)


def test_an_authority_whose_file_cannot_be_read_is_refused_by_its_name(
    make_study: MakeStudy, secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = secured.ca.with_name("missing.pem")
    monkeypatch.setenv("BATCHPILOT_BROKER_CA", str(missing))
    registry = make_study()

    with pytest.raises(BrokerRefused, match=r"missing\.pem.*correct BATCHPILOT_BROKER_CA"):
        ensure_server(registry.paths, registry.instance)
