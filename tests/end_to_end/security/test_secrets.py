"""No secret shows: not in ps, environments, logs, segments, scripts, metrics or messages.

One study with every kind of trouble: jobs that fail, exit and print all they see, an agent, a
coordinator and a broker that are killed. Meanwhile all processes of the machine are looked at.
"""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import AsNobody, Until
from tests.end_to_end.conftest import MakeStudy
from tests.end_to_end.edges_places import tools
from tests.end_to_end.edges_places.conftest import Call, MakeBroker
from tests.end_to_end.edges_places.tools import PASSWORD
from tests.end_to_end.failures.tools import (
    access_of,
    coordinator_pid,
    in_office_again,
    kill,
)

import batchpilot as bp
from batchpilot import control
from batchpilot_agent.objects import content_hash
from batchpilot_broker.access import Access
from batchpilot_broker.accounts import read_office
from batchpilot_broker.files import write_aside
from batchpilot_broker.host import runtime_path

from .watcher import Watcher, found_in


JOBS = 40


def tells_all(i: int) -> dict[str, Any]:
    """Print and return what a job can see without opening the registry's files; fail at times."""
    seen = {
        "environment": dict(os.environ),
        "arguments": Path("/proc/self/cmdline").read_bytes(),
        "parent": Path(f"/proc/{os.getppid()}/environ").read_bytes(),
        "open": sorted(os.readlink(p) for p in Path("/proc/self/fd").iterdir() if p.is_symlink()),  # noqa: PTH115 - sockets and pipes
    }
    print(seen)  # noqa: T201 - the output is what is looked at
    if i % 10 == 1:
        raise RuntimeError(seen)
    if i % 10 == 2:
        os._exit(3)
    return seen


@dataclass(frozen=True)
class Ran:
    """Hold a study that had its troubles.

    Attributes:
        registry: The registry; its daemons run still.
        secrets: Its secrets by name.
        watcher: What was seen meanwhile.
        said: What commands, metrics and errors said.
    """

    registry: bp.Registry
    secrets: dict[str, bytes]
    watcher: Watcher
    said: str


def secrets_of(registry: bp.Registry) -> dict[str, bytes]:
    control.start(registry.paths)
    office = read_office(registry.paths, registry.instance)
    assert office is not None
    return {
        "key": registry.paths.secret.read_bytes(),
        "coordinator": office.password.encode(),
        "agents": access_of(registry).password.encode(),
    }


def have_trouble(registry: bp.Registry, until: Until) -> None:
    registry.batch_map(tells_all, i=range(1, JOBS + 1))
    registry.submit_jobs(range(1, 21))
    registry.wait_for_jobs(timeout=90, progress=False)
    (agent,) = control.agents(registry.paths)
    kill(agent["pid"])
    before = coordinator_pid(registry)
    kill(before)
    in_office_again(registry, before, until, 20.0)
    if not access_of(registry).external:
        kill(access_of(registry).pid)
    registry.submit_jobs(range(21, JOBS + 1))
    registry.wait_for_jobs(timeout=90, progress=False)


def what_is_said(registry: bp.Registry, call: Call) -> str:
    """Return what a user can be told of the registry, errors of broken records too."""
    here = registry.file_dir
    commands: list[tuple[object, ...]] = [
        (c, here) for c in ("status", "doctor", "errors", "config")
    ]
    commands += [("broker", "status", here), ("coordinator", "status", here), ("why", here, 2)]
    said = [call(*words, *more)[1] for words in commands for more in ((), ("--json",))]
    address = control.coordinator_status(registry.paths)["metrics"]
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        said.append(answer.read().decode())
    said.append(str(registry.get_error_messages().to_dict()))
    for path, spoiled in (
        (registry.paths.broker, registry.paths.broker.read_bytes()[:-3]),
        (registry.paths.secret, registry.paths.secret.read_bytes()[:-1]),
        (registry.paths.broker, registry.paths.broker.read_bytes().replace(b'"pid":', b'"pie":')),
    ):
        whole = path.read_bytes()
        write_aside(path, spoiled)
        said += [call("broker", "status", here)[1], call("doctor", here)[1]]
        write_aside(path, whole)
    return "\n".join(said)


def run(registry: bp.Registry, until: Until, call: Call) -> Ran:
    secrets = secrets_of(registry)
    with Watcher(secrets) as watcher:
        have_trouble(registry, until)
        said = what_is_said(registry, call)
    return Ran(registry, secrets, watcher, said)


def files_of(registry: bp.Registry) -> Iterator[Path]:
    for root in (registry.file_dir, runtime_path(registry.instance)):
        yield from (path for path in root.rglob("*") if path.is_file())


def assert_nothing_shows(ran: Ran, allowed: set[tuple[str, str]]) -> None:
    names = "\n".join(name for _, name in ran.watcher.seen)
    for program in ("batchpilot_agent", "batchpilot.coordinator", "batchpilot.supervisor"):
        assert program in names
    assert ran.watcher.found == set()
    shown = {
        (name, path.name)
        for path in files_of(ran.registry)
        for name in found_in(path.read_bytes(), ran.secrets)
    }
    assert shown == allowed
    assert list(found_in(ran.said.encode(), ran.secrets)) == []
    logs = [p.read_text(errors="replace") for p in ran.registry.paths.logs.glob("*.log")]
    assert any("JobsRequeued" in text for text in logs)
    assert ran.registry.get_status().as_dict()["error"] == JOBS // 10
    assert ran.registry.get_status().as_dict()["expired"] == JOBS // 10


def test_no_secret_shows_in_a_study_full_of_trouble(
    make_study: MakeStudy, until: Until, call: Call, as_nobody: AsNobody
) -> None:
    ran = run(make_study(), until, call)

    allowed = {("key", "secret"), ("agents", "broker.json"), ("coordinator", "broker.json")}
    assert_nothing_shows(ran, allowed)
    _nobody_reads(ran.registry, access_of(ran.registry), as_nobody)


def _nobody_reads(registry: bp.Registry, access: Access, as_nobody: AsNobody) -> None:
    """Check that another Unix user reads no file, no environment, and reaches no socket."""
    for path in (*files_of(registry), registry.file_dir):
        assert "Permission denied" in as_nobody("cat", path).stderr
        break
    opened = [p for p in files_of(registry) if p.stat().st_mode & 0o077]
    assert opened == []
    pids = [access.pid, *(a["pid"] for a in control.agents(registry.paths))]
    for pid in pids:
        assert "Permission denied" in as_nobody("cat", f"/proc/{pid}/environ").stderr


def test_no_secret_of_a_named_broker_shows_either(
    make_study: MakeStudy, make_broker: MakeBroker, until: Until, call: Call
) -> None:
    broker = make_broker()
    registry = make_study()
    ran = run(registry, until, call)

    assert ran.secrets["agents"] == PASSWORD.encode()
    allowed = {("key", "secret"), ("agents", "broker.json"), ("coordinator", "broker.json")}
    code = content_hash(Path(tools.__file__).read_bytes())  # this test's code goes with its jobs
    allowed |= {("agents", code), ("coordinator", code)}
    assert_nothing_shows(ran, allowed)
    assert broker.client.ping()


def test_every_port_listens_on_loopback_alone(make_study: MakeStudy, until: Until) -> None:
    registry = make_study()
    control.start(registry.paths)
    until(lambda: bool(control.coordinator_status(registry.paths)["metrics"]))

    ours = {coordinator_pid(registry), access_of(registry).pid}
    heard = {address for pid in ours for address in listening(pid)}

    port = int(str(control.coordinator_status(registry.paths)["metrics"]).rpartition(":")[2])
    assert heard == {("0100007F", port)}


def listening(pid: int) -> Iterator[tuple[str, int]]:
    """Yield (address, port) of the TCP sockets that a process listens on, v6 too."""
    held = {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}  # noqa: PTH115 - names no file
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in held:
                address, _, port = fields[1].partition(":")
                yield address, int(port, 16)
