"""Slurm: `sbatch`, `squeue`, `scancel`; accounting is not needed.

The batch script becomes the agent by `exec`, so that signals reach it. `squeue --array` gives one
line an element, and `--states=all` those that ended in the last minutes (MinJobAge).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from .batch import BatchLauncher, last_match
from .nouns import ElementState, ElementStatus, Parameters


_QUEUED = frozenset(
    (
        "PENDING",
        "CONFIGURING",
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "RESV_DEL_HOLD",
        "SPECIAL_EXIT",
    )
)
_RUNNING = frozenset(
    (
        "RUNNING",
        "COMPLETING",
        "RESIZING",
        "SIGNALING",
        "STAGE_OUT",
        "STOPPED",
        "SUSPENDED",
    )
)
_ENDED = frozenset(
    (
        "COMPLETED",
        "CANCELLED",
        "DEADLINE",
        "NODE_FAIL",  # a node that dies says nothing about the agents on it
        "PREEMPTED",
        "REVOKED",
        "TIMEOUT",
    )
)
_FAILED = frozenset(("FAILED", "BOOT_FAIL", "OUT_OF_MEMORY"))


class Slurm(BatchLauncher):
    """Submit agents to Slurm."""

    kind: ClassVar[str] = "slurm"
    prefix: ClassVar[str] = "#SBATCH"
    usual: ClassVar[Parameters] = Parameters(max_array=1000)
    temporary: ClassVar[re.Pattern[str]] = re.compile(
        r"Socket timed out|Unable to contact slurm controller|controller not responding"
        r"|temporarily unable|Submission rate too high|accounting policy|SubmitJobs?(PerUser)?Limit"
        r"|Zero Bytes were transmitted|Transport endpoint|Resource temporarily unavailable"
        r"|Connection (refused|reset|timed out)|in standby mode",
        re.IGNORECASE,
    )
    gone: ClassVar[re.Pattern[str]] = re.compile(r"Invalid job id|already completed", re.IGNORECASE)

    def _ask_parameters(self) -> Parameters:
        said = self.run(["scontrol", "show", "config"]).stdout
        told = dict(re.findall(r"^(\w+)\s*=\s*(\S+)", said, re.MULTILINE))
        largest = int(told["MaxArraySize"]) - 1  # the size is above the largest index
        return Parameters(max_array=max(1, largest), version=told.get("SLURM_VERSION", ""))

    def _submitting(self, script: str) -> list[str]:
        return ["sbatch", "--parsable", script]

    def _submitted(self, words: str) -> str | None:
        return last_match(r"(\d+)(?:;.*)?", words) or last_match(
            r"Submitted batch job (\d+).*", words
        )

    def _element(self, id_: str, index: int) -> str:
        return f"{id_}_{index}"

    def _array(self, element: str) -> str:
        return element.partition("_")[0]

    def _read(self, ids: Sequence[str]) -> Mapping[str, ElementStatus]:
        options = ("--noheader", "--array", "--states=all", "--format=%i|%T|%r")
        said = self.run(["squeue", *options, f"--jobs={','.join(self._arrays(ids))}"])
        if said.code and not self._only_gone(said):
            raise self._unanswered(said)
        rows = (line.strip().split("|", 2) for line in said.stdout.splitlines())
        return {row[0]: _status(row[1], row[2]) for row in rows if len(row) == 3}  # noqa: PLR2004 - the columns of the format

    def _cancelling(self, ids: Iterable[str]) -> list[str]:
        return ["scancel", *ids]


def _status(word: str, why: str) -> ElementStatus:
    reason = word if why in ("", "None") else f"{word} {why}"
    if word in _QUEUED:
        return ElementStatus(state=ElementState.QUEUED, reason=reason)
    if word in _RUNNING:
        return ElementStatus(state=ElementState.RUNNING, reason=reason)
    if word in _ENDED or word in _FAILED:
        return ElementStatus(state=ElementState.ENDED, reason=reason, failed=word in _FAILED)
    return ElementStatus(state=ElementState.UNKNOWN, reason=reason)
