"""Hosts reached by SSH: each gets one agent, which survives the connection.

The OpenSSH client is used, so `~/.ssh/config`, keys, ProxyJump and agents work as on the command
line; it never asks for anything. A host is skipped while its load is too high, and one that does
not answer is reported and tried again with the next demand. All hosts are asked at the same time,
by one command each.

An element is `host|pid:starttime`.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from batchpilot_agent.errors import LaunchError, LaunchPostponed
from batchpilot_broker.paths import RegistryPaths

from .keeping import keep_script, keep_submitted, keep_words, make_place
from .nouns import AllocationRequest, ElementState, ElementStatus, Parameters, Submitted
from .running import Completed, Run, Runner


AT_ONCE = 16
"""Hosts that are spoken to at the same time."""

_HERE = Path(__file__).parent
_OPTIONS = ("-T", "-oBatchMode=yes", "-oConnectTimeout=10", "-oServerAliveInterval=10")
_UNREACHED = 255


@dataclass(slots=True, kw_only=True)
class SSHLauncher:
    """Start agents on hosts.

    Attributes:
        paths: The registry, the same path on every host.
        ssh: The client, with options such as `-F FILE`.
        run: Runs commands.
        clock: Gives the Unix time.
    """

    paths: RegistryPaths
    ssh: tuple[str, ...] = ("ssh",)
    run: Run = field(default_factory=Runner)
    clock: Callable[[], float] = time.time

    @property
    def parameters(self) -> Parameters:
        """Return what is allowed: as many agents as there are hosts."""
        return Parameters(max_array=2**31)

    def submit(self, request: AllocationRequest) -> Submitted:
        """Start agents on the hosts of a request, one each, as many as are asked for.

        Raises:
            LaunchPostponed: No host took one; says of each why.
        """
        directory = make_place(self.paths.allocation(request.id))
        script = self.script(request)
        keep_script(directory, 1, script)
        started: dict[int, str] = {}
        refused: list[str] = []
        hosts = list(request.hosts)
        while hosts and len(started) < request.agents:
            free = [number for number in _numbers(request) if number not in started]
            wanted = hosts[: len(free)]
            del hosts[: len(wanted)]
            answers = self._each(wanted, self._starts(request, free, script))
            for number, (host, said) in zip(free, answers, strict=False):
                keep_words(directory, [*self.ssh, host], said, self.clock())
                _sort(number, host, said, started, refused)
        if not started:
            raise LaunchPostponed("; ".join(refused) or "there is no host", remedy="see the hosts")
        elements = tuple(started.get(number, "") for number in _numbers(request))
        submitted = Submitted(
            ids=tuple(filter(None, elements)), elements=elements, shortfall="; ".join(refused)
        )
        keep_submitted(directory, submitted)
        return submitted

    def scripts(self, request: AllocationRequest) -> list[str]:
        """Return what hosts are told to do."""
        return [self.script(request)]

    def script(self, request: AllocationRequest) -> str:
        """Return what a host is told to do; an agent's number and output are its arguments."""
        exports = [f"export {name}={shlex.quote(value)}" for name, value in request.env.items()]
        lines = [*request.setup, *exports, (_HERE / "start.sh").read_text()]
        return "\n".join(lines)

    def states(self, ids: Sequence[str]) -> dict[str, ElementStatus]:
        """Return the status of every one of these elements; of a host out of reach, unknown."""
        return self._look(ids, "")

    def cancel(self, ids: Sequence[str], elements: Sequence[str] | None = None) -> None:
        """Tell agents to go; who is gone already is none the worse.

        Raises:
            LaunchPostponed: A host does not answer.
        """
        found = self._look(ids if elements is None else elements, "TERM")
        silent = (s for s in found.values() if s.state is ElementState.UNKNOWN)
        lost = sorted({status.reason for status in silent})
        if lost:
            raise LaunchPostponed("; ".join(lost))

    def _starts(
        self, request: AllocationRequest, numbers: Sequence[int], script: str
    ) -> Callable[[int], tuple[Sequence[str], str]]:
        """Return what gives the arguments and the script of the n-th host of a round.

        Each is given a number that is free; one that takes no agent leaves it to another.
        """

        def start(n: int) -> tuple[Sequence[str], str]:
            number = numbers[n]
            output = self.paths.element_output(request.id, number).absolute()
            load = f"{request.max_load:g}" if request.max_load else ""
            command = (*request.command, "--element", str(number))
            return (load, request.work_dir, str(output), *command), script

        return start

    def _look(self, elements: Iterable[str], signal: str) -> dict[str, ElementStatus]:
        by_host: dict[str, list[str]] = {}
        for element in elements:
            by_host.setdefault(host_of(element), []).append(element.rpartition("|")[2])
        hosts = list(by_host)
        script = (_HERE / "look.sh").read_text()
        answers = self._each(hosts, lambda n: ((signal, *by_host[hosts[n]]), script))
        return {
            f"{host}|{process}": status
            for host, said in answers
            for process, status in _statuses(host, said, by_host[host]).items()
        }

    def _each(
        self, hosts: Sequence[str], ask: Callable[[int], tuple[Sequence[str], str]]
    ) -> list[tuple[str, Completed]]:
        """Speak to hosts at the same time; a host that does not answer has said so."""

        def speak(n: int) -> Completed:
            arguments, script = ask(n)
            remote = shlex.join(["bash", "-s", "--", *arguments])
            try:
                return self.run([*self.ssh, *_OPTIONS, "--", hosts[n], remote], stdin=script)
            except LaunchError as error:
                return Completed(code=_UNREACHED, stderr=str(error))

        if not hosts:
            return []
        with ThreadPoolExecutor(min(AT_ONCE, len(hosts))) as pool:
            return list(zip(hosts, pool.map(speak, range(len(hosts))), strict=True))


def host_of(element: str) -> str:
    """Return the host of an element.

    Example:
        >>> host_of("node7|4711:99")
        'node7'
    """
    return element.rpartition("|")[0]


def _numbers(request: AllocationRequest) -> range:
    return range(1, request.agents + 1)


def _sort(
    number: int, host: str, said: Completed, started: dict[int, str], refused: list[str]
) -> None:
    last = said.stdout.strip().splitlines()[-1:] or [""]
    match last[0].split(maxsplit=2):
        case ["started", pid, start]:  # even if the connection broke behind it
            started[number] = f"{host}|{pid}:{start}"
        case ["busy", *words] if said.code == 0:
            refused.append(f"{host} is busy: {' '.join(words)}")
        case _:
            refused.append(f"{host}: {said.words or f'exit code {said.code}'}")


def _statuses(host: str, said: Completed, asked: Sequence[str]) -> dict[str, ElementStatus]:
    told = dict(line.rsplit(" ", 1) for line in said.stdout.splitlines() if " " in line)
    words = f"{host}: {said.words or 'no answer'}"
    unknown = ElementStatus(state=ElementState.UNKNOWN, reason=words)
    states = {
        "alive": ElementStatus(state=ElementState.RUNNING),
        "gone": ElementStatus(state=ElementState.ENDED, reason="its process has ended"),
    }
    return {process: states.get(told.get(process, ""), unknown) for process in asked}
