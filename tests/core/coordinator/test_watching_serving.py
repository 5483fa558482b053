"""What is answered to whom: pages, health, tokens, certificates, and how many at once."""

from __future__ import annotations

import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from tests.conftest import Until

from batchpilot.coordinator.happenings import BrokerChanged
from batchpilot.coordinator.watching import Watcher
from batchpilot.coordinator.watching.health import TURNS_WITHIN, Pulse
from batchpilot.coordinator.watching.serving import MOST_AT_ONCE
from batchpilot.coordinator.watching.sizes import measure
from batchpilot.errors import DefinitionError
from batchpilot.monitoring import (
    MetricsSettings,
    checked_metrics,
    checked_options,
    chosen,
    words_of,
)
from batchpilot.status import Status
from batchpilot.store.owner import Office

from .conftest import Bench


Serve = Callable[..., str]


@pytest.fixture
def watcher(bench: Bench) -> Iterator[Watcher]:
    office = Office(bench.desk.paths, bench.book.database)
    office.beat()
    watcher = Watcher(bench.desk, office, Status, {})
    bench.desk.bus.listen(watcher)
    watcher.tick(0.0)
    yield watcher
    watcher.close()


@pytest.fixture
def serve(watcher: Watcher) -> Serve:
    def start(**settings: str) -> str:
        return watcher.serve(MetricsSettings(**settings))

    return start


def get(url: str, token: str = "", context: ssl.SSLContext | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url)  # noqa: S310 - http or https of ours
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=20, context=context) as answer:  # noqa: S310 - as above
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def write_token(path: Path, token: str = "letmein", mode: int = 0o600) -> str:  # noqa: S107 - a test's token
    path.write_text(token + "\n")
    path.chmod(mode)
    return str(path)


def test_metrics_are_shown_on_loopback_by_default(serve: Serve) -> None:
    address = serve()

    status, text = get(f"http://{address}/metrics")

    assert address.startswith("127.0.0.1:")
    assert status == 200
    assert "batchpilot_build_info" in text
    assert "process_resident_memory_bytes" in text


def test_other_pages_are_not_there(serve: Serve) -> None:
    assert get(f"http://{serve()}/etc/passwd")[0] == 404


def test_only_a_reader_with_the_token_sees_metrics(serve: Serve, tmp_path: Path) -> None:
    address = serve(token_file=write_token(tmp_path / "token"))

    answers = [get(f"http://{address}/metrics", word)[0] for word in ("", "wrong", "letmein")]

    assert answers == [401, 401, 200]
    assert get(f"http://{address}/healthz")[0] == 200


@pytest.mark.parametrize(("text", "mode"), [("letmein", 0o644), ("", 0o600)])
def test_a_token_that_all_may_read_or_an_empty_one_shows_nothing(
    serve: Serve, tmp_path: Path, text: str, mode: int
) -> None:
    path = write_token(tmp_path / "token", text, mode)

    assert serve(token_file=path) == ""
    with pytest.raises(DefinitionError):
        checked_metrics({"token_file": path})


def test_metrics_are_shown_by_https(serve: Serve, tmp_path: Path, bench: Bench) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)

    address = serve(certificate=str(tmp_path / "pem"))

    assert address.startswith("https://127.0.0.1:")
    assert get(f"{address}/metrics", context=context)[0] == 200
    target = json.loads(bench.desk.paths.targets.read_text())[0]
    assert target["labels"] == {"__scheme__": "https"}


def test_prometheus_is_told_where_and_told_no_more_at_the_end(
    serve: Serve, watcher: Watcher, bench: Bench
) -> None:
    address = serve()
    told = json.loads(bench.desk.paths.targets.read_text())
    watcher.close()

    assert told == [{"targets": [address], "labels": {"__scheme__": "http"}}]
    assert not bench.desk.paths.targets.exists()


def test_one_that_was_superseded_leaves_its_successors_target(
    serve: Serve, watcher: Watcher, bench: Bench
) -> None:
    serve()
    bench.desk.paths.targets.write_text("the successor's")
    watcher.close()

    assert bench.desk.paths.targets.read_text() == "the successor's"


def test_where_the_port_is_taken_another_is_used(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        address = serve(listen=f"127.0.0.1:{port}")

    assert address != f"127.0.0.1:{port}"
    assert get(f"http://{address}/healthz")[0] == 200


def test_all_is_well_where_all_is_well(serve: Serve) -> None:
    address = serve()

    healthy, ready = get(f"http://{address}/healthz"), get(f"http://{address}/readyz")

    assert healthy[0] == ready[0] == 200
    assert [line.split()[:2] for line in ready[1].splitlines()] == [
        ["ok", "loop:"],
        ["ok", "office:"],
        ["ok", "registry:"],
        ["ok", "broker"],
    ]


def test_without_a_broker_it_is_healthy_and_not_ready(serve: Serve, bench: Bench) -> None:
    address = serve()
    bench.desk.bus.tell(BrokerChanged(up=False))

    status, text = get(f"http://{address}/readyz")

    assert status == 503
    assert "FAILED broker" in text
    assert get(f"http://{address}/healthz")[0] == 200


def test_out_of_office_or_with_a_registry_that_takes_nothing_it_is_not_ready(
    serve: Serve, watcher: Watcher
) -> None:
    address = serve()
    watcher._office.owner = replace(watcher._office.owner, term=99, heartbeat=1.0)

    status, text = get(f"http://{address}/readyz")

    assert status == 503
    assert "FAILED office" in text
    assert "FAILED registry" in text


def test_a_loop_that_stands_is_not_healthy() -> None:
    seconds = [0.0]
    pulse = Pulse(lambda: seconds[0])
    pulse.turn()
    assert pulse.check().ok

    seconds[0] = TURNS_WITHIN + 1

    assert not pulse.check().ok


def test_more_visitors_than_there_is_room_for_are_sent_away(serve: Serve, until: Until) -> None:
    address = serve()
    host, _, port = address.rpartition(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(MOST_AT_ONCE)]

    assert get(f"http://{address}/healthz")[0] == 503
    for connection in idle:
        connection.close()
    until(lambda: get(f"http://{address}/healthz")[0] == 200)


def test_files_are_measured_by_component(bench: Bench, watcher: Watcher) -> None:
    paths = bench.desk.paths
    (paths.logs / "a.log").write_bytes(b"12345")
    (paths.external / "7").mkdir(parents=True)
    (paths.external / "7" / "huge").write_bytes(b"x" * 100_000)

    sizes = measure(paths)

    assert sizes.parts["logs"] == (5, 1)
    assert sizes.parts["database"][0] > 10_000
    assert sum(size for size, _ in sizes.parts.values()) < 10_000_000
    assert 0 < sizes.free <= sizes.capacity
    assert sizes.backup == 0.0
    assert watcher.exposed.sizes.at == 0.0  # nothing is measured by a scrape


@pytest.mark.parametrize(
    "table",
    [
        {"listen": "9464"},
        {"listen": "host:high"},
        {"listen": ":9464"},
        {"listen": "host:70000"},
        {"lisen": "127.0.0.1:0"},
        {"listen": 9464},
        {"token_file": "/nowhere"},
        {"certificate": "/nowhere"},
        {"key": "/nowhere"},
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(table: dict[str, str]) -> None:
    with pytest.raises(DefinitionError) as refused:
        checked_metrics(table)

    name, value = next(iter(table.items()))
    assert name in str(refused.value) or str(value) in str(refused.value)


def test_options_go_before_what_the_registry_keeps() -> None:
    kept = {"listen": "0.0.0.0:1", "token_file": "/token"}

    settings = chosen({"metrics_listen": "[::1]:2", "metrics_key": ""}, kept)

    assert settings.address == ("::1", 2)
    assert settings.token_file == "/token"  # noqa: S105 - a file's name


def test_the_token_itself_never_stands_in_a_command_line(tmp_path: Path) -> None:
    path = write_token(tmp_path / "token")

    words = words_of(checked_options({"metrics_token_file": path, "log_format": "json"}))

    assert words == ["--metrics-token-file", path, "--log-format", "json"]
