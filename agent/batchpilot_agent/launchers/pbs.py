"""PBS Pro and OpenPBS: `qsub`, `qstat -f -F json`, `qdel`.

An array of one element does not exist there: a single agent is a plain job. `qstat -x` is asked
only of what a plain `qstat` called finished, which proves that the site keeps a history: where it
keeps none, which is the default, `-x` answers nothing even of running jobs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from batchpilot_agent.errors import LaunchPostponed

from .batch import json_object, last_match
from .nouns import ElementState, ElementStatus, Parameters
from .qsub import QsubLauncher
from .running import Completed


_QUEUED = frozenset("QHWTM")
_RUNNING = frozenset("RESUB")
_ENDED = frozenset("XF")
_NEVER_RAN = frozenset((70, 91))
"""Substates of what was deleted; the exit status there may be the array's."""
_PLANNED = frozenset((0, 265, 271, -29, -4))
"""Exit status of success, of `qdel`, of the end of the walltime, and of a node that began anew."""
_QSTAT = ("qstat", "-t", "-f", "-F", "json")
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
        said = json_object(self.run(["qstat", "-B", "-f", "-F", "json"]).stdout)
        server: dict[str, Any] = next(iter(said["Server"].values()), {})
        size = int(server.get("max_array_size", self.usual.max_array))
        return Parameters(max_array=max(1, size), version=str(said.get("pbs_version", "")))

    def _submitted(self, words: str) -> str | None:
        return last_match(r"(\d+(?:\[\])?(?:\.\S+)?)", words)

    def _read(self, ids: Sequence[str]) -> Mapping[str, ElementStatus]:
        said = self.run([*_QSTAT, *self._arrays(ids)])
        found = self._statuses(said)
        over = _OVER.findall(said.stderr)
        return self._ends(ids, over) | found if over else found

    def _ends(self, ids: Sequence[str], over: Sequence[str]) -> dict[str, ElementStatus]:
        """Return how those have ended that are over, as far as the history tells."""
        keys = {self._key(id_) for id_ in over}
        ended = ElementStatus(state=ElementState.ENDED, reason="Job has finished")
        known = {self._key(i): ended for i in ids if self._key(self._array(i)) in keys}
        try:
            return known | self._statuses(self.run([*_QSTAT, "-x", *over]))
        except LaunchPostponed:  # their end is known, if not how they came to it
            return known

    def _statuses(self, said: Completed) -> dict[str, ElementStatus]:
        if said.code and not self._only_gone(said):
            raise self._unanswered(said)
        try:
            jobs = json_object(said.stdout).get("Jobs", {})
        except ValueError as error:
            raise self._unanswered(said) from error
        return {self._key(id_): _status(job) for id_, job in jobs.items()}

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
