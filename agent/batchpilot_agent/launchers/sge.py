"""Grid Engine and its kin (SGE, OGE, OCS, GCS): `qsub -terse`, `qstat -xml -g d`, `qdel`.

`qstat` knows only what has not ended; what is missing there twice has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar
from xml.etree import ElementTree as ET

from .batch import BatchLauncher, last_match
from .nouns import ElementState, ElementStatus, Parameters


class SGE(BatchLauncher):
    """Submit agents to Grid Engine."""

    kind: ClassVar[str] = "sge"
    prefix: ClassVar[str] = "#$"
    usual: ClassVar[Parameters] = Parameters(max_array=75_000)
    temporary: ClassVar[re.Pattern[str]] = re.compile(
        r"unable to (contact|send message to) qmaster|commlib error|got select error"
        r"|jobs are allowed per user|job limit|gdi.*timeout|timeout.*exp|can't get configuration"
        r"|Resource temporarily unavailable",
        re.IGNORECASE,
    )
    gone: ClassVar[re.Pattern[str]] = re.compile(
        r"does not exist|already in deletion|has deleted|has registered", re.IGNORECASE
    )

    def _ask_parameters(self) -> Parameters:
        said = self.run(["qconf", "-sconf"]).stdout
        size = re.search(r"^max_aj_tasks\s+(\d+)", said, re.MULTILINE)
        return Parameters(max_array=int(size[1]) or 10**6) if size else self.usual

    def _submitting(self, script: str) -> list[str]:
        return ["qsub", "-terse", script]

    def _submitted(self, words: str) -> str | None:
        return last_match(r"(\d+)(?:\.\d+-\d+:\d+)?", words)

    def _element(self, id_: str, index: int) -> str:
        return f"{id_}.{index}"

    def _array(self, element: str) -> str:
        return element.partition(".")[0]

    def _read(self, ids: Sequence[str]) -> Mapping[str, ElementStatus]:
        wanted = set(self._arrays(ids))
        said = self.run(["qstat", "-xml", "-g", "d"])
        if said.code:
            raise self._unanswered(said)
        try:
            root = ET.fromstring(said.stdout)  # noqa: S314 - the site's own server wrote it
        except ET.ParseError as error:
            raise self._unanswered(said) from error
        return {
            f"{number}.{job.findtext('tasks', '1')}": _status(job.findtext("state", ""))
            for job in root.iter("job_list")
            if (number := job.findtext("JB_job_number", "")) in wanted
        }

    def _cancelling(self, ids: Iterable[str]) -> list[str]:
        return ["qdel", *ids]


def _status(letters: str) -> ElementStatus:
    if "E" in letters:  # it stays so until somebody clears it, and never runs by itself
        return ElementStatus(state=ElementState.ENDED, reason=letters, failed=True)
    if "q" in letters or letters in ("h", "w"):
        return ElementStatus(state=ElementState.QUEUED, reason=letters)
    if set(letters) & set("rtRsSTd"):
        return ElementStatus(state=ElementState.RUNNING, reason=letters)
    return ElementStatus(state=ElementState.UNKNOWN, reason=letters)
