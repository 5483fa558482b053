"""Torque: `qsub -t`, `qstat -t -x` (there, `-x` is XML, not history), `qdel`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar
from xml.etree import ElementTree as ET

from .batch import last_match
from .nouns import ElementState, ElementStatus, Parameters
from .qsub import QsubLauncher


_QUEUED = frozenset("QHWT")
_RUNNING = frozenset("RES")
_PLANNED = frozenset(("", "0", "265", "271", "-11", "-12"))
"""Exit status of success, of `qdel`, and of the end of the walltime."""


class Torque(QsubLauncher):
    """Submit agents to Torque."""

    kind: ClassVar[str] = "torque"
    usual: ClassVar[Parameters] = Parameters(max_array=10_000)
    temporary: ClassVar[re.Pattern[str]] = re.compile(
        r"cannot connect to server|Connection (refused|reset|timed out)|Communication failure"
        r"|Maximum number of jobs|End of File|Batch protocol error|socket_connect"
        r"|server shutting down|Resource temporarily unavailable|Time out",
        re.IGNORECASE,
    )
    gone: ClassVar[re.Pattern[str]] = re.compile(
        r"Unknown Job Id|invalid for state of job", re.IGNORECASE
    )

    def _ask_parameters(self) -> Parameters:
        said = self.run(["qmgr", "-c", "list server"]).stdout
        told = dict(re.findall(r"^\s*(\w+) = (\S+)", said, re.MULTILINE))
        size = int(told.get("max_job_array_size", self.usual.max_array))
        return Parameters(max_array=max(1, size), version=told.get("pbs_version", ""))

    def _submitted(self, words: str) -> str | None:
        return last_match(r"(\d+\[\](?:\.\S+)?)", words)

    def _read(self, ids: Sequence[str]) -> Mapping[str, ElementStatus]:
        said = self.run(["qstat", "-t", "-x", *self._arrays(ids)])
        if said.code and not self._only_gone(said):
            raise self._unanswered(said)
        try:
            root = ET.fromstring(said.stdout or "<Data/>")  # noqa: S314 - the site's own server wrote it
        except ET.ParseError as error:
            raise self._unanswered(said) from error
        return {self._key(job.findtext("Job_Id", "")): _status(job) for job in root.iter("Job")}

    def _cancelling(self, ids: Iterable[str]) -> list[str]:
        return ["qdel", *ids]


def _status(job: ET.Element) -> ElementStatus:
    letter, code = job.findtext("job_state", ""), job.findtext("exit_status", "")
    reason = f"{letter} {job.findtext('comment', '')}".strip()
    if letter in _QUEUED:
        return ElementStatus(state=ElementState.QUEUED, reason=reason)
    if letter in _RUNNING:
        return ElementStatus(state=ElementState.RUNNING, reason=reason)
    if letter != "C":
        return ElementStatus(state=ElementState.UNKNOWN, reason=reason)
    reason = f"C exit status {code}" if code else reason
    return ElementStatus(state=ElementState.ENDED, reason=reason, failed=code not in _PLANNED)
