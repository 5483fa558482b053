"""What all batch systems share: parts, scripts, words kept, and what a refusal means.

A batch system's own module says how it is asked and how its answers are read; see `slurm` for the
shortest. Commands run in the allocation's directory and get relative names, so that no batch system
has to read an odd path.
"""

from __future__ import annotations

import json
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from batchpilot_agent.errors import LaunchError, LaunchPostponed, LaunchRefused
from batchpilot_broker.errors import StorageError
from batchpilot_broker.paths import RegistryPaths

from .arrays import parts as sizes_of
from .keeping import keep_script, keep_submitted, keep_words, make_place
from .nouns import AllocationRequest, ElementState, ElementStatus, Parameters, Submitted
from .running import Completed, Run, Runner
from .scripts import Part, render
from .searching import find_template


NOT_KNOWN = ElementStatus(
    state=ElementState.UNKNOWN, reason="the batch system does not know it", known=False
)


@dataclass(slots=True, kw_only=True)
class BatchLauncher(ABC):
    """Submit agents as arrays of a batch system.

    Attributes:
        paths: The registry.
        run: Runs commands.
        clock: Gives the Unix time.
        environment: Says where templates are looked for.
        directory: Stands for `.` there.
    """

    paths: RegistryPaths
    run: Run = field(default_factory=Runner)
    clock: Callable[[], float] = time.time
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    directory: Path | None = None
    _parameters: Parameters | None = None

    kind: ClassVar[str]
    """Name of its template."""
    prefix: ClassVar[str]
    """How its directives begin."""
    usual: ClassVar[Parameters]
    """What it allows where nobody has changed that."""
    temporary: ClassVar[re.Pattern[str]]
    """Words of a refusal that may not be the last one."""
    gone: ClassVar[re.Pattern[str]]
    """Words about an id that has ended already."""
    by_stdin: ClassVar[bool] = False
    """Whether it reads a script with directives from its standard input only."""
    plain_single: ClassVar[bool] = False
    """Whether it has no arrays of one element."""

    @property
    def parameters(self) -> Parameters:
        """Return what the batch system allows, asked once; as usual where it does not say.

        Raises:
            LaunchPostponed: Its command does not come to an end; no other would, either.
        """
        if self._parameters is None:
            try:
                self._parameters = self._ask_parameters()
            except LaunchPostponed:
                raise
            except (LaunchError, ValueError, LookupError):
                return self.usual
        return self._parameters

    def scripts(self, request: AllocationRequest) -> list[str]:
        """Return the job scripts of a request, one a part.

        Raises:
            TemplateBroken: They cannot be made.
            LaunchPostponed: The batch system does not say how large an array may be.
        """
        return self._scripts(request, self._parts(request.agents))

    def submit(self, request: AllocationRequest) -> Submitted:
        """Submit agents: one array, or several where one may not be so large.

        When a later part cannot be submitted, what was stands and `shortfall` says why.

        Raises:
            LaunchRefused: The batch system will never take it.
            LaunchPostponed: It may take it later.
            StorageError: The first script cannot be kept.
        """
        parts = self._parts(request.agents)
        scripts = self._scripts(request, parts)
        directory = make_place(self.paths.allocation(request.id))
        done = Submitted(ids=(), elements=())
        for number, (script, part) in enumerate(zip(scripts, parts, strict=True), 1):
            try:
                id_ = self._submit(directory, keep_script(directory, number, script), script)
            except (LaunchError, StorageError) as error:
                if not done.ids:
                    raise
                return self._kept(directory, done.ids, done.elements, str(error))
            elements = tuple(self._element(id_, index) for index in range(1, part.size + 1))
            done = self._kept(directory, (*done.ids, id_), (*done.elements, *elements))
        return done

    def states(self, ids: Sequence[str]) -> dict[str, ElementStatus]:
        """Return the status of every one of these elements, by one query.

        Where that does not tell how some have just ended, another one about these may.

        Raises:
            LaunchPostponed: The batch system does not answer.
        """
        if not ids:
            return {}
        found = self._read(ids)
        return {element: found.get(self._key(element), NOT_KNOWN) for element in ids}

    def cancel(self, ids: Sequence[str], elements: Sequence[str] | None = None) -> None:
        """End whole arrays, or only some elements; who is gone already is none the worse.

        Raises:
            LaunchRefused: The batch system will not end them.
            LaunchPostponed: It does not answer.
        """
        wanted = ids if elements is None else elements
        if not wanted:
            return
        said = self.run(self._cancelling(wanted))
        if said.code and not self._only_gone(said):
            raise self._refusal(said)

    def _parts(self, agents: int) -> list[Part]:
        sizes = sizes_of(agents, self.parameters.max_array)
        return [
            Part(size=n, offset=sum(sizes[:at]), array=n > 1 or not self.plain_single)
            for at, n in enumerate(sizes)
        ]

    def _scripts(self, request: AllocationRequest, parts: Sequence[Part]) -> list[str]:
        template = find_template(request.template or self.kind, self.environment, self.directory)
        directory = self.paths.allocation(request.id).absolute()
        request = replace(request, variables={**request.variables, **self._variables(request)})
        return [
            render(request, part, template=template, directory=directory, prefix=self.prefix)
            for part in parts
        ]

    def _variables(self, request: AllocationRequest) -> dict[str, Any]:  # noqa: ARG002 - for others
        """Return variables that only this batch system's templates have."""
        return {}

    def _submit(self, directory: Path, name: str, script: str) -> str:
        argv = self._submitting(name)
        said = self.run(argv, cwd=directory, stdin=script if self.by_stdin else "")
        keep_words(directory, argv, said, self.clock())
        id_ = self._submitted(said.stdout) if said.code == 0 else None
        if id_ is None:
            raise self._refusal(said)
        return id_

    @staticmethod
    def _kept(
        directory: Path, ids: tuple[str, ...], elements: tuple[str, ...], shortfall: str = ""
    ) -> Submitted:
        submitted = Submitted(ids=ids, elements=elements, shortfall=shortfall)
        keep_submitted(directory, submitted)
        return submitted

    def _refusal(self, said: Completed) -> LaunchError:
        words = said.words or f"exit code {said.code}, and not a word"
        if self.temporary.search(words):
            return LaunchPostponed(words)
        return LaunchRefused(words)

    def _only_gone(self, said: Completed) -> bool:
        """Tell whether all that a command complains of are ids that have ended."""
        lines = said.stderr.splitlines() or said.stdout.splitlines()
        return bool(lines) and all(self.gone.search(line) for line in lines)

    def _unanswered(self, said: Completed) -> LaunchPostponed:
        return LaunchPostponed(said.words or f"no answer, exit code {said.code}")

    def _key(self, element: str) -> str:
        """Return under which name an answer has an element."""
        return element

    def _arrays(self, ids: Iterable[str]) -> list[str]:
        return sorted({self._array(element) for element in ids})

    def _ask_parameters(self) -> Parameters:
        """Ask what is allowed; an answer that cannot be read means as usual, whatever it raises."""
        return self.usual

    @abstractmethod
    def _submitting(self, script: str) -> list[str]:
        """Return the command that submits a script."""

    @abstractmethod
    def _submitted(self, words: str) -> str | None:
        """Return the id in the answer of that command."""

    @abstractmethod
    def _element(self, id_: str, index: int) -> str:
        """Return the name of an element of an array."""

    @abstractmethod
    def _array(self, element: str) -> str:
        """Return the array of an element."""

    @abstractmethod
    def _read(self, ids: Sequence[str]) -> Mapping[str, ElementStatus]:
        """Ask for some elements, all in one command; return at least those that are known."""

    @abstractmethod
    def _cancelling(self, ids: Iterable[str]) -> list[str]:
        """Return the command that ends arrays or elements."""


def json_object(words: str) -> dict[str, Any]:
    """Return the JSON object that a command wrote, an empty one where it wrote nothing.

    Raises:
        ValueError: It is something else.
    """
    found = json.loads(words or "{}", strict=False)  # names of directories may hold a tab
    if not isinstance(found, dict):
        raise ValueError(f"no JSON object: {words[:80]}")  # noqa: TRY004 - as all that json refuses
    return found


def last_match(pattern: str, words: str) -> str | None:
    r"""Return the group of the last line that matches: banners of the site come before.

    Example:
        >>> last_match(r"(\d+)", "Welcome to cluster 7\n36")
        '36'
    """
    for line in reversed(words.splitlines()):
        match = re.fullmatch(pattern, line.strip())
        if match:
            return match.group(1)
    return None
