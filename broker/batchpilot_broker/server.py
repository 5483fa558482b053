"""The broker's life: use the one that is named or recorded, else start one; end only what is ours.

    BATCHPILOT_BROKER_URL, broker.json if it answers, BATCHPILOT_BROKER_BIN, PATH, the wheel

A server of ours listens on a Unix socket in a private directory on local disk, asks for one of two
accounts whose passwords stand in 0600 files only, and logs every write (AOF, fsync each second). It
is nobody's child and outlives the session that started it. When it comes up without its data, its
generation is a new one; when the log brought them back, it keeps its number. A log it cannot read
is put aside, for the registry can fill a broker again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .access import Access, public_url, read_access, write_access
from .accounts import (
    AGENTS,
    COORDINATOR,
    RECORD,
    as_coordinator,
    for_agents,
    new_password,
    read_kept,
)
from .binaries import ServerBinary, find_server
from .connect import check_version, connect, translated
from .errors import BrokerError, BrokerUnavailable, StorageError
from .external import external_access
from .files import write_json
from .generation import settle_generation, wipe
from .host import (
    boot_id,
    host_name,
    is_alive,
    process_start,
    remove_runtime_dir,
    runtime_dir,
)
from .launch import LOG, SOCKET, command_line, end_process, launch, was_taken
from .network import can_listen, chosen_addresses, chosen_ports, free_port, tcp_places
from .paths import RegistryPaths


if TYPE_CHECKING:
    from redis import Redis

Places = list[tuple[str, int]]

RIVALS = 2
"""How often somebody else may take the port that was found free, until it is given up."""

__all__ = [
    "ServerBinary",
    "discard_broker",
    "ensure_server",
    "find_server",
    "open_to_network",
    "start_server",
    "stop_server",
]


def ensure_server(paths: RegistryPaths, instance: str, url: str | None = None) -> Access:
    """Return a broker that answers; start one where none is named and none is recorded.

    Args:
        paths: Files of the registry.
        instance: The registry's instance.
        url: A broker to use, else `BATCHPILOT_BROKER_URL`; one that is named is never started.

    Raises:
        BrokerUnavailable: The named broker does not answer, or no server is found or starts.
        BrokerRefused: A broker answers but refuses the password.
        BrokerTooOld: The named broker is below the floor.
    """
    url = url or os.environ.get("BATCHPILOT_BROKER_URL")
    with _alone(instance) as home:
        recorded = _recorded(paths, instance)
        if url:
            return _use(paths, instance, external_access(url, recorded))
        if recorded is None:
            return _start(paths, instance, home, 0)
        if recorded.username == AGENTS:  # the coordinator's password is lost: a new one is made
            stop_server(paths, recorded)
            return _start(paths, instance, home, recorded.generation)
        try:
            return _use(paths, instance, recorded)
        except BrokerUnavailable as error:
            _check_replaceable(recorded, error)
        except BrokerError:  # of somebody else at the port of ours, where that is gone
            if recorded.external or recorded.host != host_name() or _is_ours(recorded):
                raise
        return _start(paths, instance, home, recorded.generation)


def start_server(paths: RegistryPaths, instance: str, *, generation: int) -> Access:
    """Start a server for a registry and record it.

    Args:
        paths: Files of the registry.
        instance: The registry's instance.
        generation: Highest generation known so far, 0 for none.

    Raises:
        BrokerUnavailable: No server is found, or it does not come up.
    """
    with _alone(instance) as home:
        return _start(paths, instance, home, generation)


def open_to_network(
    paths: RegistryPaths,
    instance: str,
    hosts: Sequence[str] | None = None,
    ports: range | None = None,
) -> Access:
    """Let other hosts reach the broker of a registry; it is started again with the data it has.

    Args:
        paths: Files of the registry.
        instance: The registry's instance.
        hosts: Addresses of this host, by default as `chosen_addresses`.
        ports: Ports to try, by default as `chosen_ports`.

    Raises:
        BrokerUnavailable: There is no such address or free port, or the server does not come up;
            the one before goes on then, or is started again.
    """
    with _alone(instance) as home:
        recorded = _recorded(paths, instance)
        if recorded is not None and (recorded.external or tcp_places(recorded.urls)):
            return recorded
        choose = partial(_new_places, hosts, ports)
        choose()  # refused while the one before goes on
        if recorded is not None:
            stop_server(paths, recorded)
        return _start_at(paths, instance, home, recorded.generation if recorded else 0, choose)


def stop_server(paths: RegistryPaths, access: Access, *, discard: bool = False) -> bool:
    """End the server that batchpilot started here; any other process is left alone.

    Args:
        paths: Files of the registry.
        access: The record of the broker.
        discard: Whether its data and its record go too.

    Returns:
        Whether a server was ended.
    """
    ended = _is_ours(access) and end_process(access.pid, access.pid_start)
    if discard:
        paths.broker.unlink(missing_ok=True)
        if access.log and access.host == host_name():
            home = Path(access.log).parent
            shutil.rmtree(home, ignore_errors=True)
            home.with_suffix(".lock").unlink(missing_ok=True)
    return ended


def discard_broker(paths: RegistryPaths, instance: str) -> None:
    """End the broker of an instance with its data; one from outside loses the instance's keys.

    Raises:
        BrokerUnavailable: A broker from outside does not answer; its keys stay.
    """
    access = read_access(paths)
    try:
        if access is not None and access.external:
            _forget(access, instance)
        elif access is not None:
            stop_server(paths, access)
    finally:
        paths.broker.unlink(missing_ok=True)
        remove_runtime_dir(instance)


def _forget(access: Access, instance: str) -> None:
    client = connect(access)
    try:
        with translated(access):
            wipe(client, instance)
    finally:
        client.close()


def _use(paths: RegistryPaths, instance: str, access: Access) -> Access:
    """Return the access to a broker that answers, with the generation of its data now."""
    client = connect(access)
    try:
        with translated(access):
            check_version(client)
            generation = settle_generation(client, instance, access.generation)
            access = _with_process(client, access)
    finally:
        client.close()
    settled = replace(access, generation=generation)
    _record(paths, settled)
    return settled


def _start(paths: RegistryPaths, instance: str, home: Path, generation: int) -> Access:
    """Start a server on its socket, and where it was before."""
    choose = partial(_places_again, _kept(instance))
    return _start_at(paths, instance, home, generation, choose)


def _start_at(
    paths: RegistryPaths, instance: str, home: Path, generation: int, choose: Callable[[], Places]
) -> Access:
    """Start a server on its socket and at places that are free; somebody may be faster there."""
    for _ in range(RIVALS):
        places = choose()
        try:
            return _start_once(paths, instance, home, generation, places)
        except BrokerUnavailable:
            if can_listen(places) and not was_taken(home):
                raise
    return _start_once(paths, instance, home, generation, choose())


def _start_once(
    paths: RegistryPaths, instance: str, home: Path, generation: int, places: Places
) -> Access:
    before = _kept(instance)
    known = before is not None and before.username == COORDINATOR
    access = Access(
        urls=(f"unix://{home / SOCKET}", *(f"redis://{host}:{port}" for host, port in places)),
        username=COORDINATOR,
        password=before.password if before and known else new_password(),
        generation=max(generation, before.generation if before else 0),
        host=host_name(),
        boot=boot_id(),
        log=str(home / LOG),
    )
    binary = find_server()

    def keep(pid: int, pid_start: int) -> None:
        write_json(home / RECORD, asdict(replace(access, pid=pid, pid_start=pid_start)))

    # Before it runs: whoever dies right behind the start leaves a server that the next one can use.
    keep(0, 0)
    pid, pid_start = launch(binary, access, keep)
    settled = _use(paths, instance, replace(access, pid=pid, pid_start=pid_start))
    write_json(home / RECORD, asdict(settled))
    return settled


def _new_places(hosts: Sequence[str] | None = None, ports: range | None = None) -> Places:
    hosts = chosen_addresses() if hosts is None else hosts
    port = free_port(hosts, chosen_ports() if ports is None else ports)
    return [(host, port) for host in hosts]


def _places_again(before: Access | None) -> Places:
    """Return where a server was to be reached from other hosts, or others where that is gone.

    Since then this host may have got other addresses, and somebody else the port.
    """
    places = tcp_places(before.urls) if before is not None else []
    if can_listen(places):
        return places
    try:
        return _new_places()
    except BrokerUnavailable:
        return []  # the coordinator tries that again, and tells why not


def _with_process(client: Redis, access: Access) -> Access:
    """Return the access with the process that serves it, where the one recorded is gone."""
    if access.external or is_alive(access.pid, access.pid_start):
        return access
    info: Any = client.info("server")
    pid = int(info["process_id"])
    if Path(access.log).parent.name not in command_line(pid):  # not the process it is elsewhere
        return access
    start = process_start(pid)
    return replace(access, host=host_name(), boot=boot_id(), pid=pid, pid_start=start)


def _check_replaceable(recorded: Access, error: BrokerUnavailable) -> None:
    """Refuse to start a second server where the recorded one may come back."""
    if recorded.external:
        raise BrokerUnavailable(
            error.message,
            remedy="start it again, name another one in BATCHPILOT_BROKER_URL, "
            "or delete broker.json to let batchpilot start its own",
        ) from error
    if _is_ours(recorded):
        raise BrokerUnavailable(
            f"{error.message}, but its process {recorded.pid} lives",
            remedy="wait, or end it with `batchpilot broker stop`",
            url=public_url(recorded),
        ) from error


def _is_ours(access: Access) -> bool:
    """Tell whether batchpilot started this broker on this host and it still lives."""
    here = access.host == host_name() and access.boot == boot_id()
    return here and not access.external and is_alive(access.pid, access.pid_start)


def _recorded(paths: RegistryPaths, instance: str) -> Access | None:
    """Return what is known of the broker: broker.json of the registry may be lost or damaged."""
    kept = _kept(instance)
    try:
        access = read_access(paths)
    except StorageError:
        if kept is None:  # it may have named a broker of the user's
            raise
        return kept
    if access is None or kept is None:
        return access or kept
    if access.username != AGENTS or access.external:
        return access
    if access.urls == kept.urls:  # the server here; it may have been started since, and not told
        return replace(kept, generation=max(kept.generation, access.generation))
    return as_coordinator(access, kept)


def _record(paths: RegistryPaths, access: Access) -> None:
    """Write the registry's record, if it does not say the same already."""
    with suppress(StorageError):
        if for_agents(access) == read_access(paths):
            return
    write_access(paths, for_agents(access))


def _kept(instance: str) -> Access | None:
    """Return the record beside the server's data."""
    with suppress(StorageError):
        return read_kept(instance)
    return None


@contextmanager
def _alone(instance: str) -> Iterator[Path]:
    """Keep other processes of this host from starting the same broker meanwhile."""
    try:
        home = runtime_dir(instance)
        lock = os.open(home.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise BrokerUnavailable(
            f"no private directory for the broker: {error}",
            remedy="remove what is in the way under /var/tmp, or set BATCHPILOT_BROKER_URL",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield home
    finally:
        os.close(lock)
