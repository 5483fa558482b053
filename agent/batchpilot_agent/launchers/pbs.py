"""PBS Pro and OpenPBS: `qsub`, `qstat -f -F json`, `qdel`.

An array of one element does not exist there: a single agent is a plain job. Never `qstat -x`: where
the site keeps no history, which is the default, that answers nothing even of running jobs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from .batch import last_match
from .nouns import ElementState, ElementStatus, Parameters
from .qsub import QsubLauncher
from .running import Completed


_QUEUED = frozenset("QHWTM")
_RUNNING = frozenset("RESUB")
_ENDED = frozenset("XF")
_NEVER_RAN = frozenset((70, 91))
"""Substates of what was deleted; the exit status there may be the array's."""
_PLANNED = frozenset((0, 265, 271, -29))
"""Exit status of success, of `qdel`, and of the end of the walltime."""
_OVER = re.compile(r"qstat: (\S+) Job has finished")


class PBS(QsubLauncher):
    """Submit agents to PBS Pro or OpenPBS."""

    kind: ClassVar[str] = "pbs"
    usual: ClassVar[Parameters] = Parameters(max_array=10_000)
    plain_single: ClassVar[bool] = True
    temporary: ClassVar[re.Pattern[str]] = re.compile(
        r"cannot connect to server|Couldn't connect|Connection (refused|reset|timed out)"
        r"|would exceed|Maximum number of jobs|End of File|Batch protocol error"
        r"|server shutting down|Premature end|Request timed out|No free connections"
        r"|Resource temporarily unavailable",
        re.IGNORECASE,
    )
    gone: ClassVar[re.Pattern[str]] = re.compile(
        r"Unknown Job Id|Job has finished|finished array subjob|invalid for state of job",
        re.IGNORECASE,
    )

    def _ask_parameters(self) -> Parameters:
        said = json.loads(self.run(["qstat", "-B", "-f", "-F", "json"]).stdout)
        server: dict[str, Any] = next(iter(said["Server"].values()), {})
        size = int(server.get("max_array_size", self.usual.max_array))
        return Parameters(max_array=max(1, size), version=str(said.get("pbs_version", "")))

    def _submitted(self, words: str) -> str | None:
        return last_match(r"(\d+(?:\[\])?(?:\.\S+)?)", words)

    def _read(self, ids: Sequence[str]) -> Mapping[str, ElementStatus]:
        said = self.run(["qstat", "-t", "-f", "-F", "json", *self._arrays(ids)])
        over = {self._key(id_) for id_ in _OVER.findall(said.stderr)}
        ended = ElementStatus(state=ElementState.ENDED, reason="Job has finished")
        jobs = {self._key(id_): _status(job) for id_, job in self._jobs(said).items()}
        told = {self._key(i): ended for i in ids if self._key(self._array(i)) in over}
        return told | jobs

    def _jobs(self, said: Completed) -> dict[str, Any]:
        if said.code and not self._only_gone(said):
            raise self._unanswered(said)
        try:
            jobs: dict[str, Any] = json.loads(said.stdout or "{}").get("Jobs", {})
        except ValueError as error:
            raise self._unanswered(said) from error
        return jobs

    def _cancelling(self, ids: Iterable[str]) -> list[str]:
        return ["qdel", *ids]


def _status(job: Mapping[str, Any]) -> ElementStatus:
    letter = str(job.get("job_state", ""))
    reason = f"{letter} {job.get('comment', '')}".strip()
    if letter in _QUEUED:
        return ElementStatus(state=ElementState.QUEUED, reason=reason)
    if letter in _RUNNING:
        return ElementStatus(state=ElementState.RUNNING, reason=reason)
    if letter not in _ENDED:
        return ElementStatus(state=ElementState.UNKNOWN, reason=reason)
    code = 0 if job.get("substate") in _NEVER_RAN else job.get("Exit_status", 0)
    return ElementStatus(state=ElementState.ENDED, reason=reason, failed=code not in _PLANNED)
