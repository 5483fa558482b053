"""Make the job script of an array from its template.

The variables are those of `AllocationRequest`, and what is listed in docs/pools.md. A variable
that is not given is false in an `if` and an error where it is to be written.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchpilot_agent.errors import TemplateBroken

from .arrays import hms, job_name, minutes
from .nouns import AllocationRequest
from .searching import SHIPPED


if TYPE_CHECKING:
    from jinja2 import Environment

WORTH_A_WARNING = 300.0
"""Seconds of walltime from which on an agent is told before its end, where that is possible.

It is told as long before as its jobs get to go; Slurm looks every 30 s, so that it is up to 30 s
more, and of less walltime that would be a large part. Mostly the agent has gone before by its own
clock; but who shortens a job's time tells only the batch system.
"""

_EXPANDED = set("%\\")
"""Slurm expands these also in the path of the directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Hold which agents of an allocation are one array.

    Attributes:
        size: How many.
        offset: Agents in the parts before.
        array: Whether it is an array; some batch systems have none of a single element.
    """

    size: int
    offset: int = 0
    array: bool = True


def render(
    request: AllocationRequest, part: Part, *, template: Path, directory: Path, prefix: str
) -> str:
    """Return the job script of one array.

    Args:
        request: What is asked for.
        part: Which of the agents.
        template: Path of the template.
        directory: Directory of the allocation: there the script is submitted, there is its output.
        prefix: How a directive begins, such as `#SBATCH`.

    Raises:
        TemplateBroken: The template has an error, or a variable is missing or not one line.
    """
    from jinja2 import TemplateError  # noqa: PLC0415 - agents on a node must not need it

    try:
        text = template.read_text(encoding="utf-8")
        script = _environment().from_string(text).render(_variables(request, part, directory))
    except OSError as error:
        words = f"template {template} cannot be read: {error.strerror}"
        raise TemplateBroken(words, remedy="make it readable, or name another one") from error
    except (TemplateError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise TemplateBroken(
            f"template {template}: {error}", remedy="see the variables in docs/pools.md"
        ) from error
    return _edited(script, prefix, request)


def _variables(request: AllocationRequest, part: Part, directory: Path) -> dict[str, Any]:
    ours = {
        "name": job_name(request.pool),
        "pool": request.pool,
        "allocation": request.id,
        "directory": str(directory),
        "output": "/dev/null" if part.offset or set(str(directory)) & _EXPANDED else "%a.out",
        "count": part.size,
        "offset": part.offset,
        "array": f"1-{part.size}" if part.array else "",
        "throttle": request.throttle if request.throttle < part.size else 0,
        "ncpus": request.ncpus,
        "memory": math.ceil(request.memory),
        "gpus": request.gpus,
        "walltime": request.walltime,
        "warning": math.ceil(request.grace) if request.walltime >= WORTH_A_WARNING else 0,
        "setup": list(request.setup),
        "env": dict(request.env),
        "work_dir": request.work_dir,
        "command": shlex.join(request.command),
    }
    theirs = {name: _one_line(name, value) for name, value in request.variables.items()}
    return {**theirs, **ours}


def _one_line(name: str, value: Any) -> Any:
    if isinstance(value, str) and not value.isprintable():
        raise ValueError(f"the variable {name}={value!r} must be one line of text")
    return value


def _edited(script: str, prefix: str, request: AllocationRequest) -> str:
    """Leave out directives, and add others behind the last one."""
    lines = [line for line in script.splitlines() if not _is_skipped(line, prefix, request)]
    at = max((n for n, line in enumerate(lines, 1) if line.startswith(prefix)), default=1)
    lines[at:at] = [f"{prefix} {directive}" for directive in request.directives_extra]
    return "\n".join(lines) + "\n"


def _is_skipped(line: str, prefix: str, request: AllocationRequest) -> bool:
    if not line.startswith(prefix):
        return False
    directive = line.removeprefix(prefix).strip()
    return any(directive.startswith(skip) for skip in request.directives_skip)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, Undefined  # noqa: PLC0415 - as above

    class Wanted(Undefined):
        """Be false in an `if`, and an error where it is to be written."""

        def __str__(self) -> str:
            return str(self._fail_with_undefined_error())

    made = Environment(
        loader=FileSystemLoader(SHIPPED),
        undefined=Wanted,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - it makes shell scripts
    )
    made.filters |= {"quote": lambda v: shlex.quote(str(v)), "minutes": minutes, "hms": hms}
    return made
