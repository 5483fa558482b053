"""LSF and its kin: `bsub < script`, `bjobs -json`, `bkill`.

Its commands wait for ever where their daemons are down; only the time limit ends them. What it does
not understand in the name of a job makes one plain job of an array, so the size is ours to check.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from batchpilot_agent.errors import LaunchPostponed

from .batch import BatchLauncher, json_object, last_match
from .nouns import AllocationRequest, ElementState, ElementStatus, Parameters
from .running import Completed


_QUEUED = frozenset(("PEND", "PROV", "PSUSP", "WAIT"))
_RUNNING = frozenset(("RUN", "SSUSP", "USUSP"))
_PLANNED = frozenset(("0", "130", "140", "143"))
"""Exit codes of success, `bkill` and the run limit: 128 + INT, USR2, TERM."""

_ENDING = frozenset(("2", "9", "12", "15"))
"""Signals by which both end a job; one that kills only a process of it becomes an exit code."""

_UNIT = re.compile(
    r"^\s*LSF_UNIT_FOR_LIMITS\s*=\s*\"?([KMGTPE])B?\"?\s*$", re.MULTILINE | re.IGNORECASE
)

_END = re.compile(r"^\S.*\d:\d\d:\d\d(?: \d{4})?: +(Exited\b.*)$", re.MULTILINE)
"""When and how a job ended, in `bjobs -l`; its script is shown there, too."""

_FULL = "jobid stat job_name exit_code"
_PLAIN = "jobid stat job_name"
_NO_SUCH_FIELD = "not a valid field"
"""What kin of LSF says of the fields that only IBM's has."""


class LSF(BatchLauncher):
    """Submit agents to LSF."""

    kind: ClassVar[str] = "lsf"
    prefix: ClassVar[str] = "#BSUB"
    usual: ClassVar[Parameters] = Parameters(max_array=1000, fields=_FULL)
    by_stdin: ClassVar[bool] = True
    temporary: ClassVar[re.Pattern[str]] = re.compile(
        r"still trying|not responding|LSF is down|Please wait|Retrying|threshold|Pending job limit"
        r"|Job limit (has been )?reached|Cannot exceed|did not end|Connection (refused|reset)"
        r"|Communication time ?out|A socket operation has failed|Resource temporarily unavailable",
        re.IGNORECASE,
    )
    gone: ClassVar[re.Pattern[str]] = re.compile(
        r"is not found|No matching job|already finished|is being terminated"
        # of an array that runs, and yet all its elements end
        r"|Operation is in progress",
        re.IGNORECASE,
    )

    def _ask_parameters(self) -> Parameters:
        said = self.run(["bparams", "-l"]).stdout
        size = re.search(r"MAX_JOB_ARRAY_SIZE\s*=\s*(\d+)", said)
        return replace(self.usual, max_array=int(size[1])) if size else self.usual

    def _variables(self, request: AllocationRequest) -> dict[str, Any]:
        """Return the memory in the unit of `-M`: it may be written nowhere but in `lsf.conf`."""
        directory = self.environment.get("LSF_ENVDIR") or "/etc"
        try:
            said = Path(directory, "lsf.conf").read_text(errors="replace")
        except OSError:
            said = ""  # as on a machine that has none: KB
        units = _UNIT.findall(said) or ["K"]
        megabytes = 1024.0 ** ("KMGTPE".index(units[-1].upper()) - 1)
        return {"memory_limit": math.ceil(request.memory / megabytes)}

    def _submitting(self, script: str) -> list[str]:  # noqa: ARG002 - it is read from stdin
        return ["bsub"]

    def _submitted(self, words: str) -> str | None:
        return last_match(r"Job <(\d+)> is submitted to .*", words)

    def _element(self, id_: str, index: int) -> str:
        return f"{id_}[{index}]"

    def _array(self, element: str) -> str:
        return element.partition("[")[0]

    def _read(self, ids: Sequence[str]) -> Mapping[str, ElementStatus]:
        said = self._ask(ids)
        if _NO_SUCH_FIELD in said.stderr and self.parameters.fields != _PLAIN:
            self._parameters = replace(self.parameters, fields=_PLAIN)
            said = self._ask(ids)
        records = self._records(said)
        found = {_name(record): _status(record) for record in records if "STAT" in record}
        unsaid = {_name(record) for record in records if _is_unsaid(record)}.intersection(ids)
        if not unsaid:
            return found
        try:
            return found | self._ends(sorted(unsaid))
        except LaunchPostponed:  # their end is known, if not how they came to it
            return found | {id_: replace(found[id_], failed=False) for id_ in unsaid}

    def _records(self, said: Completed) -> list[dict[str, Any]]:
        """Return what is told of each id; whatever else went wrong is an error's record, too."""
        try:
            records: list[dict[str, Any]] = json_object(said.stdout).get("RECORDS", [])
        except ValueError as error:
            raise self._unanswered(said) from error
        if said.code and not records and not self._only_gone(said):
            raise self._unanswered(said)
        for record in records:
            if "STAT" not in record and not self.gone.search(str(record.get("ERROR", ""))):
                raise self._unanswered(said)
        return records

    def _ends(self, ids: Sequence[str]) -> dict[str, ElementStatus]:
        """Return how those have ended whose exit codes are told only at length."""
        told = re.sub(r"\n {21}", "", self.run(["bjobs", "-l", *ids]).stdout)
        _, *pieces = re.split(r"^Job <(\d+(?:\[\d+\])?)>", told, flags=re.MULTILINE)
        ends = {
            id_: _END.findall(text) for id_, text in zip(pieces[::2], pieces[1::2], strict=True)
        }
        return {id_: _ended_by(end[-1]) for id_, end in ends.items() if end}

    def _ask(self, ids: Sequence[str]) -> Completed:
        fields = self.parameters.fields
        return self.run(["bjobs", "-a", "-json", "-o", fields, *self._arrays(ids)])

    def _cancelling(self, ids: Iterable[str]) -> list[str]:
        return ["bkill", *ids]


def _name(record: Mapping[str, Any]) -> str:
    """Return the name of an element; its index is only in the name of the job."""
    index = re.search(r"\[\d+\]$", str(record.get("JOB_NAME", "")))
    return f"{record['JOBID']}{index[0] if index else ''}"


def _status(record: Mapping[str, Any]) -> ElementStatus:
    word, code = str(record["STAT"]), str(record.get("EXIT_CODE", ""))
    if word in _QUEUED:
        return ElementStatus(state=ElementState.QUEUED, reason=word)
    if word in _RUNNING:
        return ElementStatus(state=ElementState.RUNNING, reason=word)
    if word not in ("DONE", "EXIT"):
        return ElementStatus(state=ElementState.UNKNOWN, reason=word)
    reason = f"{word} exit code {code}" if code else word
    failed = word == "EXIT" and code not in _PLANNED
    return ElementStatus(state=ElementState.ENDED, reason=reason, failed=failed)


def _is_unsaid(record: Mapping[str, Any]) -> bool:
    """Tell whether it ended in a way that this version does not tell."""
    return record.get("STAT") == "EXIT" and not str(record.get("EXIT_CODE", "")).isdecimal()


def _ended_by(words: str) -> ElementStatus:
    """Read the end of a job; one without code or signal never ran, or nobody saw its end."""
    code = re.match(r"Exited with exit code (\d+)", words)
    signal = re.match(r"Exited by signal (\d+)", words)
    failed = bool(code and code[1] not in _PLANNED) or bool(signal and signal[1] not in _ENDING)
    return ElementStatus(state=ElementState.ENDED, reason=f"EXIT {words}", failed=failed)
