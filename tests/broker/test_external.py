"""A broker that the user names is used, never started, never ended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchpilot_broker.access import Access, read_access
from batchpilot_broker.errors import BrokerRefused, BrokerUnavailable
from batchpilot_broker.host import is_alive
from batchpilot_broker.server import ensure_server, stop_server


if TYPE_CHECKING:
    from tests.broker.conftest import Bench, Place


@pytest.fixture
def named(
    server: Access,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    unnamed: None,  # noqa: ARG001 - a fixture cannot ask for another in another way
) -> Access:
    """The site's broker, named as a user names it."""
    file = tmp_path / "password"
    file.write_text(f"{server.password}\n")
    url = server.urls[0].replace("unix://", f"unix://{server.username}@")
    monkeypatch.setenv("BATCHPILOT_BROKER_URL", url)
    monkeypatch.setenv("BATCHPILOT_BROKER_PASSWORD_FILE", str(file))
    return server


def test_a_named_broker_is_used_and_recorded(place: Place, named: Access) -> None:
    access = ensure_server(place.paths, place.instance)

    assert read_access(place.paths) == access
    assert (access.urls, access.password, access.pid) == (named.urls, named.password, 0)
    assert (access.external, access.generation) == (True, 1)


def test_once_recorded_it_needs_no_naming(
    place: Place, named: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ensure_server(place.paths, place.instance)
    monkeypatch.delenv("BATCHPILOT_BROKER_URL")
    monkeypatch.delenv("BATCHPILOT_BROKER_PASSWORD_FILE")

    assert ensure_server(place.paths, place.instance) == first
    assert ensure_server(place.paths, place.instance, named.urls[0]) == first


def test_it_is_never_ended(place: Place, named: Access) -> None:
    access = ensure_server(place.paths, place.instance)

    assert not stop_server(place.paths, access, discard=True)
    assert is_alive(named.pid, named.pid_start)
    assert not place.paths.broker.exists()


@pytest.mark.usefixtures("named")
def test_where_it_does_not_answer_nothing_is_started(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_server(place.paths, place.instance)
    monkeypatch.setenv("BATCHPILOT_BROKER_URL", "redis://127.0.0.1:1/0")

    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        ensure_server(place.paths, place.instance)


def test_a_recorded_one_that_is_gone_is_not_replaced_silently(
    place: Place, named: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_server(place.paths, place.instance)
    text = place.paths.broker.read_text().replace(named.urls[0], "unix:///nowhere.sock")
    place.paths.broker.write_text(text)
    monkeypatch.delenv("BATCHPILOT_BROKER_URL")

    with pytest.raises(BrokerUnavailable, match="let batchpilot start its own"):
        ensure_server(place.paths, place.instance)


def test_a_password_in_the_address_is_refused(place: Place) -> None:
    with pytest.raises(BrokerRefused, match="carries its password") as error:
        ensure_server(place.paths, place.instance, "redis://:hunter2@h:1/0")

    assert "hunter2" not in str(error.value)


@pytest.mark.usefixtures("named")
def test_without_a_password_it_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BATCHPILOT_BROKER_PASSWORD_FILE")

    with pytest.raises(BrokerRefused, match="BATCHPILOT_BROKER_PASSWORD_FILE"):
        ensure_server(place.paths, place.instance)


@pytest.mark.parametrize("content", ["", "wrong", None])
@pytest.mark.usefixtures("named")
def test_a_wrong_password_file_is_refused(
    place: Place, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "password"
    file.unlink()
    if content is not None:
        file.write_text(content)

    with pytest.raises(BrokerRefused, match="password"):
        ensure_server(place.paths, place.instance)


@pytest.mark.parametrize("url", ["http://h:1", "h:6379"])
def test_what_is_no_address_is_told(place: Place, url: str) -> None:
    with pytest.raises(BrokerUnavailable, match="no address"):
        ensure_server(place.paths, place.instance, url)


@pytest.mark.usefixtures("named")
def test_two_registries_share_one_broker(place: Place, bench: Bench) -> None:
    first = ensure_server(place.paths, place.instance)
    second = ensure_server(bench.paths, bench.instance)

    assert (first.urls, first.generation) == (second.urls, second.generation)
